#include "memory.h"

#include <cstdlib>
#include <new>

#include "pages.h"

namespace rnn::cpu {
namespace {

constexpr std::size_t header = 64;               // before each block: its size
constexpr std::size_t kept_at_most = 64u << 20;  // bytes, of one thread
constexpr int blocks_at_most = 24;

thread_local bool ended = false;  // the thread's blocks are gone, and no others are kept

// Blocks that are not in use, the last ones handed back first.
class Kept {
public:
    ~Kept() {
        while (count_) drop(count_ - 1);
        ended = true;
    }

    // The smallest that fits without wasting more than it holds, or null.
    void* find(std::size_t bytes) {
        int best = -1;
        for (int i = count_ - 1; i >= 0; i--) {
            const std::size_t size = size_of(blocks_[i]);
            if (size >= bytes && size / 2 <= bytes && (best < 0 || size < size_of(blocks_[best])))
                best = i;
        }
        return best < 0 ? nullptr : remove(best);
    }

    void keep(void* block) {
        const std::size_t size = size_of(block);
        if (size > kept_at_most) return std::free(block);
        while (count_ && (count_ == blocks_at_most || total_ + size > kept_at_most)) drop(0);
        blocks_[count_++] = block;
        total_ += size;
    }

    static std::size_t& size_of(void* block) { return *static_cast<std::size_t*>(block); }

private:
    void* remove(int i) {
        void* block = blocks_[i];
        total_ -= size_of(block);
        for (count_--; i < count_; i++) blocks_[i] = blocks_[i + 1];
        return block;
    }
    void drop(int i) { std::free(remove(i)); }

    void* blocks_[blocks_at_most];
    int count_ = 0;
    std::size_t total_ = 0;
};

thread_local Kept kept;

}  // namespace

void* take(std::size_t bytes) {
    bytes = (bytes + header - 1) / header * header;
    void* block = ended ? nullptr : kept.find(bytes);
    if (!block) {
        block = std::aligned_alloc(header, header + bytes);
        if (!block) throw std::bad_alloc();
        prefer_large_pages(block, header + bytes);
        Kept::size_of(block) = bytes;
    }
    return static_cast<char*>(block) + header;
}

void give(void* data) noexcept {
    if (!data) return;
    void* block = static_cast<char*>(data) - header;
    ended ? std::free(block) : kept.keep(block);
}

}  // namespace rnn::cpu
