// Atomic functions of CUDA C++: relaxed, each returns what was there before.
#pragma once

#include <type_traits>

#include "../machine/sharing.h"

namespace emulated {

// `change` takes what is there and makes it what shall be there, or returns false.
template <class T, class F>
T atomically(T* p, F change) {
    T old;
    const auto apply = [](void* value, void* f) {
        T x;
        __builtin_memcpy(&x, value, sizeof(x));
        const bool changed = (*static_cast<F*>(f))(x);
        __builtin_memcpy(value, &x, sizeof(x));
        return changed;
    };
    update(p, sizeof(T), apply, &change, &old, Order::relaxed);
    return old;
}

}  // namespace emulated

template <class T>
T atomicAdd(T* p, std::type_identity_t<T> x) {
    return emulated::atomically(p, [=](T& there) { return there = T(there + x), true; });
}
template <class T>
T atomicSub(T* p, std::type_identity_t<T> x) {
    return emulated::atomically(p, [=](T& there) { return there = T(there - x), true; });
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> x) {
    return emulated::atomically(p, [=](T& there) { return there = there < x ? x : there, true; });
}
template <class T>
T atomicMin(T* p, std::type_identity_t<T> x) {
    return emulated::atomically(p, [=](T& there) { return there = x < there ? x : there, true; });
}
template <class T>
T atomicAnd(T* p, std::type_identity_t<T> x) {
    return emulated::atomically(p, [=](T& there) { return there = T(there & x), true; });
}
template <class T>
T atomicOr(T* p, std::type_identity_t<T> x) {
    return emulated::atomically(p, [=](T& there) { return there = T(there | x), true; });
}
template <class T>
T atomicExch(T* p, std::type_identity_t<T> x) {
    return emulated::atomically(p, [=](T& there) { return there = x, true; });
}
template <class T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> x) {
    return emulated::atomically(
        p, [=](T& there) { return there == expected ? (there = x, true) : false; });
}
