#include "ir/support/writer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "ir/support/arena.h"

enum { BLOCK = 1 << 20, BLOCKS = 2, BIGGEST_WRITE = 1 << 30 };

/* Blocks go round: `filled` of them, from `next` on, wait to be written; the
 * one after them is being filled. */
struct prn_writer {
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  int fd, error;
  bool last; /* no more will come */
  unsigned next, filled;
  size_t used;          /* of the block being filled */
  size_t sizes[BLOCKS]; /* of filled blocks */
  char *data;           /* BLOCKS of BLOCK bytes */
};

int prn_write_all(int fd, const char *p, size_t size) {
  while (size) {
    ssize_t n = write(fd, p, size < BIGGEST_WRITE ? size : BIGGEST_WRITE);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    p += n;
    size -= (size_t)n;
  }
  return 0;
}

static void *serve(void *arg) {
  prn_writer *w = arg;
  (void)pthread_mutex_lock(&w->lock);
  for (;;) {
    while (!w->filled && !w->last)
      (void)pthread_cond_wait(&w->changed, &w->lock);
    if (!w->filled) break;
    const char *p = w->data + (size_t)w->next * BLOCK;
    size_t size = w->error ? 0 : w->sizes[w->next];
    (void)pthread_mutex_unlock(&w->lock);
    int error = prn_write_all(w->fd, p, size);
    (void)pthread_mutex_lock(&w->lock);
    if (!w->error) w->error = error;
    w->next = (w->next + 1) % BLOCKS;
    w->filled--;
    (void)pthread_cond_signal(&w->changed);
  }
  (void)pthread_mutex_unlock(&w->lock);
  return NULL;
}

static void free_writer(prn_writer *w) {
  (void)pthread_mutex_destroy(&w->lock);
  (void)pthread_cond_destroy(&w->changed);
  prn_free(w->data);
  prn_free(w);
}

prn_writer *prn_writer_start(int fd) {
  sigset_t all, old;
  prn_writer *w = prn_alloc(sizeof *w);
  *w = (prn_writer){.fd = fd, .data = prn_alloc((size_t)BLOCK * BLOCKS)};
  (void)pthread_mutex_init(&w->lock, NULL);
  (void)pthread_cond_init(&w->changed, NULL);
  (void)sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &old);
  bool started = pthread_create(&w->thread, NULL, serve, w) == 0;
  (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
  if (started) return w;
  free_writer(w);
  return NULL;
}

/* Hands the block being filled over and waits for room for another. */
static void hand_over(prn_writer *w) {
  (void)pthread_mutex_lock(&w->lock);
  w->sizes[(w->next + w->filled) % BLOCKS] = w->used;
  w->filled++;
  w->used = 0;
  (void)pthread_cond_signal(&w->changed);
  while (w->filled == BLOCKS)
    (void)pthread_cond_wait(&w->changed, &w->lock);
  (void)pthread_mutex_unlock(&w->lock);
}

void prn_writer_put(prn_writer *w, const void *data, size_t size) {
  const char *p = data;
  while (size) {
    (void)pthread_mutex_lock(&w->lock);
    char *block = w->data + (size_t)((w->next + w->filled) % BLOCKS) * BLOCK;
    (void)pthread_mutex_unlock(&w->lock);
    size_t n = BLOCK - w->used < size ? BLOCK - w->used : size;
    memcpy(block + w->used, p, n);
    w->used += n;
    p += n;
    size -= n;
    if (w->used == BLOCK) hand_over(w);
  }
}

int prn_writer_finish(prn_writer *w) {
  if (w->used) hand_over(w);
  (void)pthread_mutex_lock(&w->lock);
  w->last = true;
  (void)pthread_cond_signal(&w->changed);
  (void)pthread_mutex_unlock(&w->lock);
  (void)pthread_join(w->thread, NULL);
  int error = w->error;
  free_writer(w);
  return error;
}
