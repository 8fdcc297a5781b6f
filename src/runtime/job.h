#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace dunlin {

// A closure that runs once on another thread: move-only, so that it may own what it carries. Captures up to 48 bytes live inside
// (no allocation); larger ones are allocated.
class Job {
 public:
  Job() = default;
  template <class F>
    requires(!std::is_same_v<std::decay_t<F>, Job> && std::is_invocable_v<std::decay_t<F>&>)
  Job(F&& fn) {  // NOLINT(google-explicit-constructor): a lambda is meant to become a Job
    using Fn = std::decay_t<F>;
    if constexpr (fits<Fn>()) {
      new (storage_) Fn(std::forward<F>(fn));
      ops_ = &kInline<Fn>;
    } else {
      new (storage_) Fn*(new Fn(std::forward<F>(fn)));
      ops_ = &kHeap<Fn>;
    }
  }
  Job(Job&& other) noexcept : ops_(std::exchange(other.ops_, nullptr)) {
    if (ops_) ops_->move(storage_, other.storage_);
  }
  Job& operator=(Job&& other) noexcept {
    if (this == &other) return *this;
    reset();
    ops_ = std::exchange(other.ops_, nullptr);
    if (ops_) ops_->move(storage_, other.storage_);
    return *this;
  }
  ~Job() { reset(); }

  explicit operator bool() const { return ops_ != nullptr; }
  void operator()() { ops_->call(storage_); }

 private:
  static constexpr std::size_t kInlineBytes = 48;
  struct Ops {
    void (*call)(void*);
    void (*move)(void* to, void* from) noexcept;
    void (*destroy)(void*) noexcept;
  };
  template <class Fn>
  static constexpr bool fits() {
    return sizeof(Fn) <= kInlineBytes && alignof(Fn) <= alignof(std::max_align_t) && std::is_nothrow_move_constructible_v<Fn>;
  }
  template <class Fn>
  static Fn& as(void* storage) {
    return *std::launder(static_cast<Fn*>(storage));
  }
  template <class Fn>
  static constexpr Ops kInline{[](void* s) { as<Fn>(s)(); },
                               [](void* to, void* from) noexcept {
                                 new (to) Fn(std::move(as<Fn>(from)));
                                 as<Fn>(from).~Fn();
                               },
                               [](void* s) noexcept { as<Fn>(s).~Fn(); }};
  template <class Fn>
  static constexpr Ops kHeap{[](void* s) { (*as<Fn*>(s))(); }, [](void* to, void* from) noexcept { new (to) Fn*(as<Fn*>(from)); },
                             [](void* s) noexcept { delete as<Fn*>(s); }};

  void reset() {
    if (ops_) std::exchange(ops_, nullptr)->destroy(storage_);
  }

  const Ops* ops_ = nullptr;
  alignas(std::max_align_t) std::byte storage_[kInlineBytes];
};

}  // namespace dunlin
