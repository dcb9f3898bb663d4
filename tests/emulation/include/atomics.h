// Atomic functions of CUDA C++: relaxed, each returns what was there before.
#pragma once

#include "../machine/sharing.h"

namespace emulated {

template <class T, class F>
T atomically(T* p, F change) {
    T old;
    const auto apply = [](void* value, void* f) {
        T x;
        __builtin_memcpy(&x, value, sizeof(x));
        x = (*static_cast<F*>(f))(x);
        __builtin_memcpy(value, &x, sizeof(x));
    };
    update(p, sizeof(T), apply, &change, &old, Order::relaxed);
    return old;
}

}  // namespace emulated

template <class T>
T atomicAdd(T* p, T x) {
    return emulated::atomically(p, [=](T old) { return T(old + x); });
}
template <class T>
T atomicSub(T* p, T x) {
    return emulated::atomically(p, [=](T old) { return T(old - x); });
}
template <class T>
T atomicMax(T* p, T x) {
    return emulated::atomically(p, [=](T old) { return old < x ? x : old; });
}
template <class T>
T atomicMin(T* p, T x) {
    return emulated::atomically(p, [=](T old) { return x < old ? x : old; });
}
template <class T>
T atomicAnd(T* p, T x) {
    return emulated::atomically(p, [=](T old) { return T(old & x); });
}
template <class T>
T atomicOr(T* p, T x) {
    return emulated::atomically(p, [=](T old) { return T(old | x); });
}
template <class T>
T atomicExch(T* p, T x) {
    return emulated::atomically(p, [=](T) { return x; });
}
template <class T>
T atomicCAS(T* p, T expected, T x) {
    return emulated::atomically(p, [=](T old) { return old == expected ? x : old; });
}
