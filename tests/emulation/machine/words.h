// What is remembered of memory, 8 bytes at a time.
#pragma once

#include <cstdint>
#include <iterator>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "memory.h"

namespace emulated {

// An access that later ones may have to be ordered after.
struct Past {
    Access access;
    uint8_t mask;  // bytes of the word
};
struct Word {
    std::vector<Past> past;
    uint8_t written = 0;  // bytes of shared memory that have a value
    bool opaque = false;
};

// Words by address, in pages made when they are first touched.
class Words {
public:
    Word& at(uintptr_t address) {
        const uintptr_t key = address / page_bytes;
        auto& [known, page] = recent_[key % std::size(recent_)];
        if (!page || known != key) {
            auto& found = pages_[key];
            if (!found) found = std::make_unique<Page>();
            known = key, page = found.get();
        }
        return page->words[address % page_bytes / 8];
    }
    void forget(uintptr_t begin, uintptr_t end) {
        // A page may be shared with a buffer.
        for (uintptr_t word = begin / 8 * 8; word < end; word += 8)
            if (pages_.count(word / page_bytes)) at(word) = {};
    }
    void forget() {
        for (auto& recent : recent_) recent = {};
        pages_.clear();
    }

private:
    static constexpr uintptr_t page_bytes = 256;
    struct Page {
        Word words[page_bytes / 8];
    };
    std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages_;
    std::pair<uintptr_t, Page*> recent_[256] = {};
};

}  // namespace emulated
