/* prune_pool.h: threads for models compiled by prunec, for who has none.
 *
 * It goes with a model's header (`prunec --header`), before or behind it, and
 * needs POSIX threads and GCC or Clang. Nothing is allocated or global.
 *
 *   static prune_pool pool;
 *   if (prune_pool_start(&pool, 4) != 0) ...no threads...
 *   call.workers = 4;
 *   call.parallel_for = prune_pool_for;
 *   call.pool = &pool;
 *   ...m->plan(&call, &need), m->run(&call), as often as you like...
 *   prune_pool_stop(&pool);
 *
 * One run at a time uses a pool. Work is dealt out in shrinking pieces, so
 * that a thread which the system keeps away holds nobody up; results do not
 * depend on who does what. Threads wait a few microseconds busily, then
 * sleep. */
#ifndef PRUNE_POOL_H
#define PRUNE_POOL_H

#include <pthread.h>
#include <stdint.h>

enum { PRUNE_POOL_MAX = 256, PRUNE_POOL_SPINS = 1 << 11 };

/* As in the model's header. */
typedef void prune_task(void *arg, int64_t begin, int64_t end, int64_t worker);

struct prune_pool;
typedef struct prune_pool_thread {
  struct prune_pool *pool;
  pthread_t thread;
  int64_t worker;
} prune_pool_thread;

typedef struct prune_pool {
  /* Number of the round (high half), whether one may still join it, and how
   * many have and are not done. */
  uint64_t gate;
  int64_t next; /* first item that nobody has taken */
  prune_task *fn;
  void *arg;
  int64_t count, workers;
  pthread_mutex_t lock;
  pthread_cond_t start, done;
  int64_t asleep; /* threads that wait for start */
  int waiting;    /* the caller waits for done */
  int stop;
  prune_pool_thread threads[PRUNE_POOL_MAX]; /* [0]: the caller */
} prune_pool;

#define PRUNE_POOL_OPEN      (UINT64_C(1) << 31)
#define PRUNE_POOL_INSIDE    (PRUNE_POOL_OPEN - 1)
#define PRUNE_POOL_LOAD(p)   __atomic_load_n(p, __ATOMIC_SEQ_CST)
#define PRUNE_POOL_ADD(p, n) __atomic_add_fetch(p, n, __ATOMIC_SEQ_CST)

static inline void prune_pool_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/* Takes pieces until nothing is left: a part of the rest that shrinks with
 * it. */
static inline void prune_pool_work(prune_pool *p, int64_t worker) {
  int64_t count = p->count, share = 2 * p->workers;
  int64_t at = PRUNE_POOL_LOAD(&p->next);
  while (at < count) {
    int64_t size = (count - at) / share;
    int64_t end = at + (size > 1 ? size : 1);
    if (!__atomic_compare_exchange_n(&p->next, &at, end, 0, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST))
      continue;
    p->fn(p->arg, at, end, worker);
    at = PRUNE_POOL_LOAD(&p->next);
  }
}

/* A round that is open and not the last one seen, or 0. */
static inline uint64_t prune_pool_round(prune_pool *p, uint64_t seen) {
  uint64_t gate = PRUNE_POOL_LOAD(&p->gate);
  return (gate & PRUNE_POOL_OPEN) && gate >> 32 != seen ? gate : 0;
}

static inline void prune_pool_sleep(prune_pool *p, uint64_t seen) {
  for (int i = 0; i < PRUNE_POOL_SPINS; i++) {
    if (prune_pool_round(p, seen)) return;
    prune_pool_pause();
  }
  (void)pthread_mutex_lock(&p->lock);
  PRUNE_POOL_ADD(&p->asleep, 1);
  while (!p->stop && !prune_pool_round(p, seen))
    (void)pthread_cond_wait(&p->start, &p->lock);
  PRUNE_POOL_ADD(&p->asleep, -1);
  (void)pthread_mutex_unlock(&p->lock);
}

static inline void *prune_pool_serve(void *arg) {
  prune_pool_thread *self = (prune_pool_thread *)arg;
  prune_pool *p = self->pool;
  uint64_t seen = 0;
  while (!PRUNE_POOL_LOAD(&p->stop)) {
    uint64_t gate = prune_pool_round(p, seen);
    if (!gate) {
      prune_pool_sleep(p, seen);
      continue;
    }
    /* Fails when the round is closed or somebody joins; then look again. */
    if (!__atomic_compare_exchange_n(&p->gate, &gate, gate + 1, 0,
                                     __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
      continue;
    seen = gate >> 32;
    prune_pool_work(p, self->worker);
    gate = PRUNE_POOL_ADD(&p->gate, -1);
    if ((gate & (PRUNE_POOL_OPEN | PRUNE_POOL_INSIDE)) == 0 &&
        PRUNE_POOL_LOAD(&p->waiting)) {
      (void)pthread_mutex_lock(&p->lock);
      (void)pthread_cond_signal(&p->done);
      (void)pthread_mutex_unlock(&p->lock);
    }
  }
  return NULL;
}

/* Ends the threads. */
static inline void prune_pool_stop(prune_pool *p) {
  (void)pthread_mutex_lock(&p->lock);
  __atomic_store_n(&p->stop, 1, __ATOMIC_SEQ_CST);
  (void)pthread_cond_broadcast(&p->start);
  (void)pthread_mutex_unlock(&p->lock);
  for (int64_t i = 1; i < p->workers; i++)
    (void)pthread_join(p->threads[i].thread, NULL);
  (void)pthread_cond_destroy(&p->start);
  (void)pthread_cond_destroy(&p->done);
  (void)pthread_mutex_destroy(&p->lock);
}

/* Starts workers - 1 threads, the caller being the first worker. Not 0 when
 * there are too many or one cannot be started: then there are none. */
static inline int prune_pool_start(prune_pool *p, int64_t workers) {
  if (workers < 1 || workers > PRUNE_POOL_MAX) return -1;
  p->gate = 0;
  p->next = p->count = p->asleep = 0;
  p->waiting = p->stop = 0;
  p->workers = 1;
  (void)pthread_mutex_init(&p->lock, NULL);
  (void)pthread_cond_init(&p->start, NULL);
  (void)pthread_cond_init(&p->done, NULL);
  for (int64_t i = 1; i < workers; i++) {
    prune_pool_thread *t = &p->threads[i];
    t->pool = p;
    t->worker = i;
    if (pthread_create(&t->thread, NULL, prune_pool_serve, t) != 0) {
      prune_pool_stop(p);
      return -1;
    }
    p->workers = i + 1;
  }
  return 0;
}

static inline int prune_pool_busy(prune_pool *p) {
  return (PRUNE_POOL_LOAD(&p->gate) & PRUNE_POOL_INSIDE) != 0;
}

/* The parallel_for of a call whose pool is a prune_pool. */
static inline void prune_pool_for(void *pool, prune_task *fn, void *arg,
                                  int64_t count) {
  prune_pool *p = (prune_pool *)pool;
  uint64_t round = (PRUNE_POOL_LOAD(&p->gate) >> 32) + 1;
  p->fn = fn;
  p->arg = arg;
  p->count = count;
  p->next = 0;
  __atomic_store_n(&p->gate, round << 32 | PRUNE_POOL_OPEN, __ATOMIC_SEQ_CST);
  if (PRUNE_POOL_LOAD(&p->asleep)) {
    (void)pthread_mutex_lock(&p->lock);
    (void)pthread_cond_broadcast(&p->start);
    (void)pthread_mutex_unlock(&p->lock);
  }
  prune_pool_work(p, 0);
  /* Nobody joins any more; those inside have pieces to finish. */
  __atomic_and_fetch(&p->gate, ~PRUNE_POOL_OPEN, __ATOMIC_SEQ_CST);
  for (int i = 0; i < PRUNE_POOL_SPINS && prune_pool_busy(p); i++)
    prune_pool_pause();
  if (!prune_pool_busy(p)) return;
  (void)pthread_mutex_lock(&p->lock);
  __atomic_store_n(&p->waiting, 1, __ATOMIC_SEQ_CST);
  while (prune_pool_busy(p))
    (void)pthread_cond_wait(&p->done, &p->lock);
  __atomic_store_n(&p->waiting, 0, __ATOMIC_SEQ_CST);
  (void)pthread_mutex_unlock(&p->lock);
}

#endif
