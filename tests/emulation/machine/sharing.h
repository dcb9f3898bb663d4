// Memory that threads share on purpose: atomic accesses, their order, fences.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emulated {

enum class Order { relaxed, acquire, release };

// Others may go first; then it is checked, and what follows from it is learnt.
void before_load(const void* address, size_t bytes, Order order);
void before_store(void* address, size_t bytes, Order order);

void load(const void* address, size_t bytes, void* value, Order order);
void store(void* address, size_t bytes, const void* value, Order order);
// Replaces the value by what `apply` makes of it, unless that returns false; `old` is what was
// there.
using Apply = bool (*)(void* value, void* operand);
void update(void* address, size_t bytes, Apply apply, void* operand, void* old, Order order);
void fence();
void proxy_fence();

// Someone wrote there: who waits for that goes on.
void written(const void* address, size_t bytes);
// What is published between two addresses at home.
void forget_published(uintptr_t begin, uintptr_t end);

}  // namespace emulated
