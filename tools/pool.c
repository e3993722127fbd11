#include "tools/pool.h"

#include <pthread.h>

#include "ir/support/arena.h"

typedef struct worker {
  prn_pool *pool;
  pthread_t thread;
  int64_t index;
} worker;

struct prn_pool {
  pthread_mutex_t lock;
  pthread_cond_t start, done;
  uint64_t round; /* grows with every call */
  int64_t running, started, workers;
  bool stop;
  prune_task *fn;
  void *arg;
  int64_t count;
  worker *all; /* [0] is the caller and has no thread */
};

static void run_share(const prn_pool *p, int64_t w) {
  int64_t part = p->count / p->workers, rest = p->count % p->workers;
  int64_t begin = w * part + (w < rest ? w : rest);
  int64_t end = begin + part + (w < rest);
  if (begin < end) p->fn(p->arg, begin, end, w);
}

static void *serve(void *arg) {
  worker *self = arg;
  prn_pool *p = self->pool;
  uint64_t seen = 0;
  (void)pthread_mutex_lock(&p->lock);
  for (;;) {
    while (!p->stop && p->round == seen)
      (void)pthread_cond_wait(&p->start, &p->lock);
    if (p->stop) break;
    seen = p->round;
    (void)pthread_mutex_unlock(&p->lock);
    run_share(p, self->index);
    (void)pthread_mutex_lock(&p->lock);
    if (--p->running == 0) (void)pthread_cond_signal(&p->done);
  }
  (void)pthread_mutex_unlock(&p->lock);
  return NULL;
}

prn_pool *prn_pool_create(int64_t workers) {
  prn_pool *p = prn_alloc(sizeof *p);
  *p = (prn_pool){.workers = workers < 1 ? 1 : workers, .started = 1};
  (void)pthread_mutex_init(&p->lock, NULL);
  (void)pthread_cond_init(&p->start, NULL);
  (void)pthread_cond_init(&p->done, NULL);
  p->all = prn_alloc(prn_array_size(sizeof *p->all, (size_t)p->workers));
  for (int64_t i = 1; i < p->workers; i++) {
    p->all[i] = (worker){.pool = p, .index = i};
    if (pthread_create(&p->all[i].thread, NULL, serve, &p->all[i]) != 0) {
      prn_pool_destroy(p);
      return NULL;
    }
    p->started++;
  }
  return p;
}

void prn_pool_destroy(prn_pool *p) {
  if (!p) return;
  (void)pthread_mutex_lock(&p->lock);
  p->stop = true;
  (void)pthread_cond_broadcast(&p->start);
  (void)pthread_mutex_unlock(&p->lock);
  for (int64_t i = 1; i < p->started; i++)
    (void)pthread_join(p->all[i].thread, NULL);
  (void)pthread_cond_destroy(&p->start);
  (void)pthread_cond_destroy(&p->done);
  (void)pthread_mutex_destroy(&p->lock);
  prn_free(p->all);
  prn_free(p);
}

int64_t prn_pool_workers(const prn_pool *p) { return p->workers; }

void prn_pool_for(void *pool, prune_task *fn, void *arg, int64_t count) {
  prn_pool *p = pool;
  (void)pthread_mutex_lock(&p->lock);
  p->fn = fn;
  p->arg = arg;
  p->count = count;
  p->running = p->workers - 1;
  p->round++;
  (void)pthread_cond_broadcast(&p->start);
  (void)pthread_mutex_unlock(&p->lock);
  run_share(p, 0);
  (void)pthread_mutex_lock(&p->lock);
  while (p->running > 0)
    (void)pthread_cond_wait(&p->done, &p->lock);
  (void)pthread_mutex_unlock(&p->lock);
}
