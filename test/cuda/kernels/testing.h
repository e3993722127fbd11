/* What tests of kernels share: random data, memory that is watched, orders of
 * threads, and mistakes that must be noticed. */
#ifndef TEST_CUDA_KERNELS_TESTING_H
#define TEST_CUDA_KERNELS_TESTING_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <functional>
#include <vector>

#include "pmk.h"

class source {
  uint32_t state;

public:
  explicit source(uint32_t seed) : state(seed * 2654435761u + 1) {}
  uint32_t next(uint32_t below) {
    state = state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)state * below >> 32);
  }
  /* Exact in every type, so that only sums are rounded. */
  float value() { return (float)((int)next(255) - 127) / 64; }
};

/* Memory that a kernel may touch, and nothing beside it. */
class buffer {
  unsigned char *data;

public:
  buffer(size_t size, const void *from) {
    size_t whole = (size + 63) / 64 * 64 + 64;
    data = (unsigned char *)aligned_alloc(64, whole);
    memset(data, 0xff, whole);
    if (from) memcpy(data, from, size);
    pmk_register(data, size);
  }
  ~buffer() {
    pmk_unregister(data);
    free(data);
  }
  buffer(const buffer &) = delete;
  buffer &operator=(const buffer &) = delete;
  unsigned char *get() const { return data; }
};

/* ---- counting ---- */

struct tally {
  int passed, failed;
  void count(bool good) { good ? passed++ : failed++; }
};

const char *const order_names[] = {"from the first thread", "from the last",
                                   "mixed"};

/* Runs something with the threads in an order: what is wrong, or NULL. */
typedef std::function<const char *(int order)> attempt;

inline void try_orders(tally &t, const char *name, const attempt &run) {
  for (int order = 0; order < 3; order++) {
    const char *wrong = run(order);
    t.count(!wrong);
    if (wrong) printf("%s, threads %s: %s\n", name, order_names[order], wrong);
  }
}

/* ---- mistakes ---- */

const char *const mistake_names[] = {
    "none",
    "no barrier",
    "no barrier of the warp",
    "copies waited for too late",
    "copies read 16 bytes always",
    "metadata of other rows",
    "metadata of other lanes",
    "another step of k",
    "rows read as they are",
    "no fence between proxies",
};

/* A barrier may be there for the sake of some of the kernels that pass it. */
struct barrier {
  pmk_place place;
  bool seen;
};

class mistakes {
  tally &t;
  std::vector<barrier> barriers;

  static bool notices(const std::vector<attempt> &runs, const pmk_place &p) {
    bool seen = false;
    pmk_emu.mistake = p.without;
    pmk_emu.at = p;
    for (const attempt &run : runs)
      for (int order = 0; order < 3 && !seen; order++)
        seen = run(order) != nullptr;
    pmk_emu.mistake = PMK_NO_MISTAKE;
    return seen;
  }
  void count(const char *what, const pmk_place &place, bool seen) {
    t.count(seen);
    if (!seen)
      printf("%s: not noticed: %s, line %d\n", what,
             mistake_names[place.without], place.line);
  }
  void leave_out(const std::vector<attempt> &runs, const pmk_place &place) {
    for (barrier &b : barriers)
      if (pmk_same(b.place, place)) {
        b.seen = b.seen || notices(runs, place);
        return;
      }
    barriers.push_back({place, notices(runs, place)});
  }

public:
  explicit mistakes(tally &to) : t(to) {}

  /* Every mistake that the runs of a kernel give an occasion for. */
  void of(const char *name, const std::vector<attempt> &runs) {
    pmk_emu.possible = 0;
    pmk_emu.num_places = 0;
    for (const attempt &run : runs)
      if (const char *wrong = run(0)) {
        printf("%s: without a mistake: %s\n", name, wrong);
        t.count(false);
        return;
      }
    uint32_t possible = pmk_emu.possible;
    std::vector<pmk_place> places(pmk_emu.place,
                                  pmk_emu.place + pmk_emu.num_places);
    for (int which = PMK_WAIT_LATE; which <= PMK_NO_FENCE; which++)
      if (possible >> which & 1) {
        pmk_place nowhere = {(pmk_mistake)which, "", 0};
        count(name, nowhere, notices(runs, nowhere));
      }
    for (const pmk_place &place : places)
      leave_out(runs, place);
  }
  /* After all kernels. */
  void barriers_of_all() {
    for (const barrier &b : barriers)
      count(b.place.file, b.place, b.seen);
  }
};

#endif
