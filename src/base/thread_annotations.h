#pragma once

#include <condition_variable>
#include <mutex>

// Clang's -Wthread-safety: which mutex guards what, checked by the compiler; empty for gcc.
#if defined(__clang__)
#define DUNLIN_TSA(x) __attribute__((x))
#else
#define DUNLIN_TSA(x)
#endif
#define GUARDED_BY(x) DUNLIN_TSA(guarded_by(x))
#define REQUIRES(...) DUNLIN_TSA(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) DUNLIN_TSA(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) DUNLIN_TSA(acquire_capability(__VA_ARGS__))
#define RELEASE() DUNLIN_TSA(release_capability())
// A function that may look without the lock, for the reason that it gives.
#define LOOKS_WITHOUT_LOCK DUNLIN_TSA(no_thread_safety_analysis)

namespace dunlin {

class DUNLIN_TSA(capability("mutex")) Mutex {
 public:
  void lock() DUNLIN_TSA(acquire_capability()) { mutex_.lock(); }
  void unlock() DUNLIN_TSA(release_capability()) { mutex_.unlock(); }
  bool try_lock() DUNLIN_TSA(try_acquire_capability(true)) { return mutex_.try_lock(); }
  std::mutex& native() { return mutex_; }

 private:
  std::mutex mutex_;
};

class DUNLIN_TSA(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) DUNLIN_TSA(acquire_capability(mutex)) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() DUNLIN_TSA(release_capability()) { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Waits on a Mutex that the caller holds.
class CondVar {
 public:
  void wait(Mutex& mutex) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.native(), std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  template <class Duration>
  bool wait_for(Mutex& mutex, Duration timeout) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.native(), std::adopt_lock);
    const bool notified = cv_.wait_for(lock, timeout) == std::cv_status::no_timeout;
    lock.release();
    return notified;
  }
  void notify_one() { cv_.notify_one(); }
  void notify_all() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

}  // namespace dunlin
