/* The fibres of pmk_cpu.h: threads of a block, who waits for what, and which
 * memory a kernel may touch. */
#ifndef PMK_FIBRE_H
#define PMK_FIBRE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifndef __x86_64__
#include <ucontext.h>
#endif

#define PMK_EXPORT extern "C" __attribute__((visibility("default")))

enum {
  PMK_MAX_THREADS = 1024,
  PMK_STACK = 1 << 17,
  PMK_MAX_SHARED = 227 << 10,
  PMK_COPIES = 256, /* of a thread, under way; arrived since it met others */
};

struct pmk_copy {
  uint32_t to;
  int group;
  unsigned char bytes[16];
};

/* What one lane gives to and gets from an operation of its warp. */
struct pmk_operands {
  uint32_t a[4], b[4], out[4], e, address;
  uint32_t d[4]; /* sums, of whatever type */
};

struct pmk_warp {
  int arrived, op;
  uint32_t meetings;
  pmk_operands lane[2][32];
};

struct pmk_fibre {
  unsigned char *stack;
#ifdef __x86_64__
  void *sp;
#else
  ucontext_t context;
#endif
};

struct pmk_thread {
  pmk_fibre *fibre;      /* NULL: not started, or done */
  const uint32_t *event; /* waits until this is no longer `seen` */
  uint32_t seen;
  bool started, done;
  int group, copies, arrived;
  pmk_copy *copy;
  uint32_t *arrival; /* places of copies that only this thread may read */
};

struct pmk_buffer {
  uintptr_t begin, end;
};

/* A mistake to make, for tests of the tests. */
enum pmk_mistake {
  PMK_NO_MISTAKE,
  PMK_NO_SYNC,      /* a barrier of the block, at one place, is not there */
  PMK_NO_WARP_SYNC, /* the same of a warp */
  PMK_WAIT_LATE,    /* one more group of copies may be under way */
  PMK_COPY_WHOLE,   /* copies of less than 16 bytes read 16 */
  PMK_ROWS_SWAPPED, /* metadata: halves of a word */
  PMK_OTHER_LANES,  /* metadata from the other two lanes of four */
  PMK_OTHER_STEP,   /* ldmatrix, descriptors: 32 bytes off */
  PMK_NO_SWIZZLE,   /* wgmma reads rows as they are */
  PMK_NO_FENCE,     /* of what the copies wrote, before wgmma reads it */
};
/* A place in a kernel where threads wait. */
struct pmk_place {
  pmk_mistake without;
  const char *file;
  int line;
};
enum { PMK_PLACES = 64 };

/* The machine: one block at a time. */
static struct {
  int current, threads, block[3], grid[3];
  int arrived;
  uint32_t barrier;
  size_t shared;
  unsigned char *smem;
  uint16_t *owner; /* of 16 bytes: 1 + the thread that alone may read them */
  bool *unfenced;  /* of 16 bytes: copied to since */
  void (*kernel)(void **);
  void **params;
  pmk_thread thread[PMK_MAX_THREADS];
  pmk_warp warp[PMK_MAX_THREADS / 32];
  pmk_fibre fibre[PMK_MAX_THREADS], *idle[PMK_MAX_THREADS], host;
  int idle_fibres;
  int order; /* of threads: see pmk_schedule */
  bool failed;
  char message[256];
  pmk_buffer *buffers;
  size_t num_buffers, last_buffer;
  pmk_mistake mistake;
  uint32_t possible; /* mistakes that would have made a difference */
  pmk_place at, place[PMK_PLACES]; /* of the mistake; all that were passed */
  int num_places;
  uint64_t blocks; /* that were begun */
} pmk_emu;

/* ---- switching ---- */

#ifdef __x86_64__
/* What a call preserves, on the stack of the one that is left. */
extern "C" void pmk_switch(void **leave, void *enter)
    __attribute__((visibility("hidden")));
__asm__(".text\n"
        ".type pmk_switch, @function\n"
        "pmk_switch:\n"
        "  push %rbp\n  push %rbx\n  push %r12\n"
        "  push %r13\n  push %r14\n  push %r15\n"
        "  mov %rsp, (%rdi)\n"
        "  mov %rsi, %rsp\n"
        "  pop %r15\n  pop %r14\n  pop %r13\n"
        "  pop %r12\n  pop %rbx\n  pop %rbp\n"
        "  ret\n"
        ".size pmk_switch, . - pmk_switch\n");

static void pmk_go(pmk_fibre *from, pmk_fibre *to) {
  pmk_switch(&from->sp, to->sp);
}
static void pmk_prepare(pmk_fibre *f, void (*entry)()) {
  void **top = (void **)(void *)(f->stack + PMK_STACK);
  *--top = nullptr; /* where entry would return to, which it never does */
  *--top = (void *)entry;
  top -= 6;
  memset(top, 0, 6 * sizeof *top);
  f->sp = top;
}
#else
static void pmk_go(pmk_fibre *from, pmk_fibre *to) {
  swapcontext(&from->context, &to->context);
}
static void pmk_prepare(pmk_fibre *f, void (*entry)()) {
  getcontext(&f->context);
  f->context.uc_stack.ss_sp = f->stack;
  f->context.uc_stack.ss_size = PMK_STACK;
  makecontext(&f->context, entry, 0);
}
#endif

/* ---- mistakes ---- */

/* Ends the launch with a message. The fibres are given up where they are. */
[[noreturn]] __attribute__((format(printf, 1, 2))) static void
pmk_fail(const char *format, ...) {
  va_list args;
  int n = snprintf(pmk_emu.message, sizeof pmk_emu.message,
                   "block %d,%d,%d thread %d: ", pmk_emu.block[0],
                   pmk_emu.block[1], pmk_emu.block[2], pmk_emu.current);
  va_start(args, format);
  vsnprintf(pmk_emu.message + n, sizeof pmk_emu.message - (size_t)n, format,
            args);
  va_end(args);
  pmk_emu.failed = true;
  pmk_go(pmk_emu.thread[pmk_emu.current].fibre, &pmk_emu.host);
  abort(); /* nobody comes back */
}

/* What copies bring is for the thread that waited for them, until it meets
 * others. */
static void pmk_arrive(uint32_t address) {
  pmk_thread &t = pmk_emu.thread[pmk_emu.current];
  pmk_emu.owner[address / 16] = (uint16_t)(1 + pmk_emu.current);
  pmk_emu.unfenced[address / 16] = true;
  if (t.arrived < PMK_COPIES) t.arrival[t.arrived++] = address;
}
static void pmk_publish(int first, int threads) {
  for (int i = first; i < first + threads; i++) {
    pmk_thread &t = pmk_emu.thread[i];
    while (t.arrived > 0)
      pmk_emu.owner[t.arrival[--t.arrived] / 16] = 0;
  }
}
/* reader: a thread, or -1 for all of a warp. */
static void pmk_check_arrived(size_t address, int reader) {
  int owner = pmk_emu.owner[address / 16];
  if (owner && owner != 1 + reader)
    pmk_fail("shared memory at %zu is read without a barrier after the copy",
             address);
}

static bool pmk_in_buffer(size_t i, uintptr_t p, size_t size) {
  return p >= pmk_emu.buffers[i].begin && p + size <= pmk_emu.buffers[i].end;
}
/* Shared memory and the thread's own stack count as well: kernels read small
 * arrays of theirs by the same functions. */
static bool pmk_is_own(uintptr_t p, size_t size) {
  uintptr_t smem = (uintptr_t)pmk_emu.smem;
  uintptr_t stack = (uintptr_t)pmk_emu.thread[pmk_emu.current].fibre->stack;
  return (p >= smem && p + size <= smem + pmk_emu.shared) ||
         (p >= stack && p + size <= stack + PMK_STACK);
}
static void pmk_check_slowly(const void *pointer, size_t size) {
  uintptr_t p = (uintptr_t)pointer;
  for (size_t i = 0; i < pmk_emu.num_buffers; i++)
    if (pmk_in_buffer(i, p, size)) {
      pmk_emu.last_buffer = i;
      return;
    }
  if (!pmk_is_own(p, size))
    pmk_fail("%zu bytes at %p are in no buffer", size, pointer);
  size_t address = p - (uintptr_t)pmk_emu.smem;
  if (address < pmk_emu.shared) pmk_check_arrived(address, pmk_emu.current);
}
static inline void pmk_check(const void *p, size_t size) {
  if (pmk_emu.num_buffers &&
      !pmk_in_buffer(pmk_emu.last_buffer, (uintptr_t)p, size))
    pmk_check_slowly(p, size);
}

/* Whether a mistake is to be made where it could be. */
static bool pmk_mistaken(pmk_mistake which) {
  pmk_emu.possible |= 1u << which;
  return pmk_emu.mistake == which;
}
static bool pmk_same(const pmk_place &a, const pmk_place &b) {
  return a.without == b.without && a.line == b.line &&
         strcmp(a.file, b.file) == 0;
}
/* Notes a place; whether it is the one to leave out. */
static bool pmk_left_out(pmk_mistake without, const char *file, int line) {
  pmk_place here = {without, file, line};
  int i = 0;
  while (i < pmk_emu.num_places && !pmk_same(pmk_emu.place[i], here))
    i++;
  if (i == pmk_emu.num_places && i < PMK_PLACES)
    pmk_emu.place[pmk_emu.num_places++] = here;
  return pmk_emu.mistake == without && pmk_same(pmk_emu.at, here);
}

/* ---- threads ---- */

static void pmk_wait(const uint32_t *event) {
  pmk_thread &t = pmk_emu.thread[pmk_emu.current];
  t.event = event;
  t.seen = *event;
  pmk_go(t.fibre, &pmk_emu.host);
}

static void pmk_thread_main() {
  pmk_emu.kernel(pmk_emu.params);
  pmk_thread &t = pmk_emu.thread[pmk_emu.current];
  if (t.copies) pmk_fail("ends with copies under way");
  t.done = true;
  pmk_go(t.fibre, &pmk_emu.host);
}

static bool pmk_can_run(const pmk_thread &t) {
  return !t.done && (!t.started || *t.event != t.seen);
}

/* Lets a thread go on until it waits or is done. */
static void pmk_resume(int i) {
  pmk_thread &t = pmk_emu.thread[i];
  if (!t.started) {
    t.started = true;
    t.fibre = pmk_emu.idle[--pmk_emu.idle_fibres];
    pmk_prepare(t.fibre, pmk_thread_main);
  }
  pmk_emu.current = i;
  pmk_go(&pmk_emu.host, t.fibre);
  if (t.done) {
    pmk_emu.idle[pmk_emu.idle_fibres++] = t.fibre;
    t.fibre = nullptr;
  }
}

/* The q-th thread to look at in a round. */
static int pmk_pick(int q, int round) {
  int n = pmk_emu.threads, warps = n / 32;
  switch (pmk_emu.order) {
  case 1:
    return n - 1 - q;
  case 2: /* warps take turns in another order each time */
    return (q / 32 * 5 + round) % warps * 32 + (q * 11 + round) % 32;
  default:
    return q;
  }
}

/* One pass over the threads; each warp goes as far as it can. */
static bool pmk_round(int round) {
  bool moved = false;
  for (int q = 0; q < pmk_emu.threads; q += 32)
    for (bool again = true; again;) {
      again = false;
      for (int l = 0; l < 32 && q + l < pmk_emu.threads; l++) {
        int i = pmk_pick(q + l, round);
        if (!pmk_can_run(pmk_emu.thread[i])) continue;
        pmk_resume(i);
        if (pmk_emu.failed) return false;
        moved = again = true;
      }
    }
  return moved;
}

static void pmk_begin_block() {
  memset(pmk_emu.smem, 0xff, pmk_emu.shared);
  memset(pmk_emu.owner, 0, (pmk_emu.shared + 15) / 16 * sizeof(uint16_t));
  memset(pmk_emu.unfenced, 0, (pmk_emu.shared + 15) / 16);
  pmk_emu.blocks++;
  pmk_emu.arrived = 0;
  pmk_emu.barrier = 0;
  pmk_emu.idle_fibres = 0;
  for (int i = pmk_emu.threads; i-- > 0;)
    pmk_emu.idle[pmk_emu.idle_fibres++] = &pmk_emu.fibre[i];
  for (int i = 0; i < pmk_emu.threads; i++) {
    pmk_thread &t = pmk_emu.thread[i];
    pmk_copy *copy = t.copy;
    uint32_t *arrival = t.arrival;
    t = pmk_thread();
    t.copy = copy;
    t.arrival = arrival;
  }
  for (int i = 0; i < (pmk_emu.threads + 31) / 32; i++)
    pmk_emu.warp[i].arrived = 0;
}

static bool pmk_block() {
  pmk_begin_block();
  for (int round = 0; pmk_round(round);)
    round++;
  for (int i = 0; i < pmk_emu.threads && !pmk_emu.failed; i++)
    if (!pmk_emu.thread[i].done) {
      pmk_emu.failed = true;
      snprintf(pmk_emu.message, sizeof pmk_emu.message,
               "block %d,%d,%d: thread %d waits for ever", pmk_emu.block[0],
               pmk_emu.block[1], pmk_emu.block[2], i);
    }
  return !pmk_emu.failed;
}

/* Memory for the largest block, once. */
static bool pmk_set_up() {
  if (pmk_emu.smem) return true;
  size_t copies = sizeof(pmk_copy) * PMK_COPIES;
  size_t arrivals = sizeof(uint32_t) * PMK_COPIES;
  size_t owners = PMK_MAX_SHARED / 16 * (sizeof(uint16_t) + sizeof(bool));
  size_t size = PMK_MAX_SHARED + owners +
                (PMK_STACK + copies + arrivals) * PMK_MAX_THREADS;
  void *all = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (all == MAP_FAILED) return false;
  unsigned char *p = (unsigned char *)all;
  pmk_emu.smem = p;
  p += PMK_MAX_SHARED;
  for (int i = 0; i < PMK_MAX_THREADS; i++, p += PMK_STACK)
    pmk_emu.fibre[i].stack = p;
  for (int i = 0; i < PMK_MAX_THREADS; i++, p += copies)
    pmk_emu.thread[i].copy = (pmk_copy *)(void *)p;
  for (int i = 0; i < PMK_MAX_THREADS; i++, p += arrivals)
    pmk_emu.thread[i].arrival = (uint32_t *)(void *)p;
  pmk_emu.owner = (uint16_t *)(void *)p;
  pmk_emu.unfenced = (bool *)(pmk_emu.owner + PMK_MAX_SHARED / 16);
  return true;
}

/* ---- what is exported ---- */

/* Runs a kernel over a grid; 0, or 1 with a message in pmk_error(). */
PMK_EXPORT int pmk_emulate(void (*kernel)(void **), unsigned gx, unsigned gy,
                           unsigned gz, unsigned threads, size_t shared,
                           void **params) {
  pmk_emu.failed = false;
  pmk_emu.message[0] = 0;
  if (threads == 0 || threads > PMK_MAX_THREADS || threads % 32 || gy > 65535 ||
      gz > 65535 || gx > INT32_MAX || shared > PMK_MAX_SHARED ||
      !pmk_set_up()) {
    snprintf(pmk_emu.message, sizeof pmk_emu.message,
             "grid %u,%u,%u of %u threads with %zu bytes", gx, gy, gz, threads,
             shared);
    return 1;
  }
  pmk_emu.kernel = kernel;
  pmk_emu.params = params;
  pmk_emu.threads = (int)threads;
  pmk_emu.shared = shared;
  const int grid[3] = {(int)gx, (int)gy, (int)gz};
  memcpy(pmk_emu.grid, grid, sizeof grid);
  for (pmk_emu.block[2] = 0; pmk_emu.block[2] < grid[2]; pmk_emu.block[2]++)
    for (pmk_emu.block[1] = 0; pmk_emu.block[1] < grid[1]; pmk_emu.block[1]++)
      for (pmk_emu.block[0] = 0; pmk_emu.block[0] < grid[0]; pmk_emu.block[0]++)
        if (!pmk_block()) return 1;
  return 0;
}

PMK_EXPORT const char *pmk_error() { return pmk_emu.message; }

/* In which order threads run: 0 from the first, 1 from the last, 2 mixed. */
PMK_EXPORT void pmk_schedule(int order) { pmk_emu.order = order; }

/* Memory that kernels may touch. Without any, nothing is checked. */
PMK_EXPORT int pmk_register(const void *p, size_t size) {
  void *grown = realloc(pmk_emu.buffers,
                        (pmk_emu.num_buffers + 1) * sizeof *pmk_emu.buffers);
  if (!grown) return 1;
  pmk_emu.buffers = (pmk_buffer *)grown;
  pmk_emu.buffers[pmk_emu.num_buffers++] = {(uintptr_t)p, (uintptr_t)p + size};
  return 0;
}
PMK_EXPORT void pmk_unregister(const void *p) {
  size_t left = 0;
  for (size_t i = 0; i < pmk_emu.num_buffers; i++)
    if (pmk_emu.buffers[i].begin != (uintptr_t)p)
      pmk_emu.buffers[left++] = pmk_emu.buffers[i];
  pmk_emu.num_buffers = left;
  pmk_emu.last_buffer = 0;
}

#endif
