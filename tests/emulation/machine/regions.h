// The memory that a kernel may touch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace emulated {

struct Block;

struct Region {
    uintptr_t begin, end;
    std::string name;
    Block* shared = nullptr;  // whose shared memory it is
    bool constant = false;
    bool of_launch = false;  // gone when it ends

    bool holds(uintptr_t address, size_t bytes) const {
        return address >= begin && address <= end && bytes <= end - address;
    }
};

class Regions {
public:
    void add(Region region) { all_.push_back(std::move(region)); }
    template <class Condition>
    void remove(const Condition& condition) {
        last_ = 0;
        std::erase_if(all_, condition);
    }
    // That holds all of these bytes, or null.
    const Region* find(uintptr_t address, size_t bytes) const;
    // What is there, or next to there, for a message.
    std::string near(uintptr_t address) const;

private:
    std::vector<Region> all_;
    mutable size_t last_ = 0;
};

// Memory that the host has handed out, until it is taken back.
void add_buffer(const void* begin, size_t bytes, const std::string& name);
void remove_buffer(const void* begin);
void remove_all_buffers();

}  // namespace emulated
