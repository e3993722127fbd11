#include "ir/support/parallel.h"

#include <pthread.h>
#include <stdatomic.h>

enum { MAX_THREADS = 64 };

typedef struct loop {
  size_t n, chunk_size, chunks;
  prn_parallel_fn *fn;
  void *user;
  atomic_size_t next;
} loop;

static void *work(void *p) {
  loop *l = p;
  for (;;) {
    size_t i = atomic_fetch_add_explicit(&l->next, 1, memory_order_relaxed);
    if (i >= l->chunks) return NULL;
    size_t begin = i * l->chunk_size;
    size_t left = l->n - begin;
    l->fn(l->user, i, begin,
          begin + (left < l->chunk_size ? left : l->chunk_size));
  }
}

void prn_parallel_for(unsigned threads, size_t n, size_t chunk_size,
                      prn_parallel_fn *fn, void *user) {
  loop l = {.n = n, .chunk_size = chunk_size, .fn = fn, .user = user};
  pthread_t others[MAX_THREADS];
  unsigned started = 0;
  l.chunks = prn_parallel_chunks(n, chunk_size);
  atomic_init(&l.next, 0);
  if (threads > MAX_THREADS) threads = MAX_THREADS;
  if (threads > l.chunks) threads = (unsigned)l.chunks;
  /* A thread that cannot be started is one that does not help. */
  while (started + 1 < threads &&
         pthread_create(&others[started], NULL, work, &l) == 0)
    started++;
  (void)work(&l);
  while (started)
    (void)pthread_join(others[--started], NULL);
}
