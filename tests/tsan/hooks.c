/* Reports to the thread sanitizer what the standard library synchronizes.
 *
 * The sanitizer knows an order between two threads only from code that was built with it, and the standard
 * library comes prebuilt. Its locks are inlined into the server, and so are seen, but for the way that they
 * take when a thread has to wait: there the sanitizer sees who lets go of a lock, not who gets it, and
 * reports every access under that lock. The linker (--wrap, see `flags`) puts these functions in front of
 * the few in question.
 *
 * Nothing real can hide behind them: each reports an order where the memory model has it, at the address by
 * which the sanitizer knows the rest of the same lock. A thread that does not take the lock gets none.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The sanitizer's own interface: what was released at an address happened before what acquires it. */
void __tsan_acquire(void *address);
void __tsan_release(void *address);

#define JOIN(a, b) a##b
#define NAME(a, b) JOIN(a, b)
#define REAL(function) NAME(__real_, function)
#define WRAP(function) NAME(__wrap_, function)

/* Mutex::lock, when another thread holds it. `mutex` is the word that unlock releases. */
void REAL(MUTEX_LOCK_CONTENDED)(void *mutex);
void WRAP(MUTEX_LOCK_CONTENDED)(void *mutex)
{
    REAL(MUTEX_LOCK_CONTENDED)(mutex);
    __tsan_acquire(mutex);
}

/* Condvar::wait lets go of the mutex, and has it again when it returns. */
void REAL(CONDVAR_WAIT)(void *condvar, void *mutex);
void WRAP(CONDVAR_WAIT)(void *condvar, void *mutex)
{
    __tsan_release(mutex);
    REAL(CONDVAR_WAIT)(condvar, mutex);
    __tsan_acquire(mutex);
}

bool REAL(CONDVAR_WAIT_TIMEOUT)(void *condvar, void *mutex, uint64_t seconds, uint32_t nanoseconds);
bool WRAP(CONDVAR_WAIT_TIMEOUT)(void *condvar, void *mutex, uint64_t seconds, uint32_t nanoseconds)
{
    __tsan_release(mutex);
    bool in_time = REAL(CONDVAR_WAIT_TIMEOUT)(condvar, mutex, seconds, nanoseconds);
    __tsan_acquire(mutex);
    return in_time;
}

/* Who drops the last Arc (or Weak) has seen all that the others did with theirs: it has counted down to
 * zero, then an acquire fence follows, which belongs to that count. The sanitizer knows no fences. */
enum { ACQUIRE = 2 };
static _Thread_local void *count;

uint64_t __real___tsan_atomic64_fetch_sub(uint64_t *address, uint64_t value, int order);
uint64_t __wrap___tsan_atomic64_fetch_sub(uint64_t *address, uint64_t value, int order)
{
    uint64_t before = __real___tsan_atomic64_fetch_sub(address, value, order);
    if (before == value)
        count = address;
    return before;
}

void __real___tsan_atomic_thread_fence(int order);
void __wrap___tsan_atomic_thread_fence(int order)
{
    if (order == ACQUIRE && count != NULL)
        __tsan_acquire(count);
    count = NULL;
    __real___tsan_atomic_thread_fence(order);
}
