#pragma once

#include <optional>
#include <utility>
#include <variant>

#include "base/check.h"
#include "base/error.h"

namespace dunlin {

// A value or an Error. Ignoring one does not compile; `ignore(result)` is the word to search for.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    CHECK(ok());
    return std::get<0>(state_);
  }
  const T& value() const& {
    CHECK(ok());
    return std::get<0>(state_);
  }
  T&& value() && {
    CHECK(ok());
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& {
    CHECK(!ok());
    return std::get<1>(state_);
  }
  Error&& error() && {
    CHECK(!ok());
    return std::get<1>(std::move(state_));
  }

  Result with(std::string_view prefix) && {
    if (ok()) return std::move(*this);
    return std::move(std::get<1>(state_)).with(prefix);
  }

 private:
  std::variant<T, Error> state_;
};

// Success or an Error. `return {};` is success.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const& {
    CHECK(!ok());
    return *error_;
  }
  Error&& error() && {
    CHECK(!ok());
    return *std::move(error_);
  }

  Result with(std::string_view prefix) && {
    if (ok()) return {};
    return std::move(*error_).with(prefix);
  }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

template <class T>
void ignore(const Result<T>&) {}

}  // namespace dunlin

// `TRY(expr);` passes a failure up; `TRY_ASSIGN(auto x, expr);` binds the value or passes the failure up.
// CO_TRY and CO_TRY_ASSIGN are the same inside a coroutine.
#define DUNLIN_CONCAT_(a, b) a##b
#define DUNLIN_CONCAT(a, b) DUNLIN_CONCAT_(a, b)
#define DUNLIN_TRY_(ret, tmp, expr)            \
  do {                                         \
    auto tmp = (expr);                         \
    if (!tmp.ok()) ret std::move(tmp).error(); \
  } while (false)
#define DUNLIN_TRY_ASSIGN_(ret, tmp, decl, expr) \
  auto tmp = (expr);                             \
  if (!tmp.ok()) ret std::move(tmp).error();     \
  decl = std::move(tmp).value()
#define TRY(expr) DUNLIN_TRY_(return, DUNLIN_CONCAT(try_, __LINE__), expr)
#define TRY_ASSIGN(decl, expr) DUNLIN_TRY_ASSIGN_(return, DUNLIN_CONCAT(try_, __LINE__), decl, expr)
#define CO_TRY(expr) DUNLIN_TRY_(co_return, DUNLIN_CONCAT(try_, __LINE__), expr)
#define CO_TRY_ASSIGN(decl, expr) DUNLIN_TRY_ASSIGN_(co_return, DUNLIN_CONCAT(try_, __LINE__), decl, expr)
