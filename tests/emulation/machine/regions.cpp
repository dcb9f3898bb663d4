#include "regions.h"

namespace emulated {

const Region* Regions::find(uintptr_t address, size_t bytes) const {
    if (last_ < all_.size() && all_[last_].holds(address, bytes)) return &all_[last_];
    for (last_ = 0; last_ < all_.size(); last_++)
        if (all_[last_].holds(address, bytes)) return &all_[last_];
    return nullptr;
}

std::string Regions::near(uintptr_t address) const {
    const Region* nearest = nullptr;
    uintptr_t distance = UINTPTR_MAX;
    for (const Region& r : all_) {
        const uintptr_t d = address < r.begin  ? r.begin - address
                            : address >= r.end ? address - r.end
                                               : 0;
        if (d < distance) distance = d, nearest = &r;
    }
    if (!nearest || distance > 1 << 20) return "no memory that the kernel was given";
    const auto offset = intptr_t(address - nearest->begin);
    return "byte " + std::to_string(offset) + " of " + nearest->name + ", which has " +
           std::to_string(nearest->end - nearest->begin);
}

}  // namespace emulated
