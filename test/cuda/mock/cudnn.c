/* libcudnn.so.9: see mock.h. The part of the graph interface that describes one
 * convolution, with the rules that the real one (9.19) has for descriptors and
 * attributes, and the numbers with which it refuses. Convolutions are computed
 * in double precision. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "mock.h"

enum {
  OK = 0,
  NOT_INITIALIZED = 1001,
  INVALID = 2000,
  IS_NULL = 2002,
  NOT_FINALIZED = 2004,
  WRONG_TYPE = 2010,
  NOT_SUPPORTED = 3000,
  ALLOC_FAILED = 4003,
  FAILED = 5000,
  HANDLE = 0x444e,
  DESC = 0x444f,
  RANK = 8,
  SLOTS = 8
};
enum kind {
  CONV = 1,
  ENGINE = 2,
  CONFIG = 3,
  HEURISTICS = 4,
  PLAN = 5,
  FORWARD = 10,
  GRAPH = 15,
  PACK = 16,
  TENSOR = 17
};
enum type {
  IS_HANDLE = 0,
  IS_DATA_TYPE = 1,
  IS_INT64 = 3,
  IS_FLOAT = 4,
  IS_POINTER = 6,
  IS_CONV_MODE = 7,
  IS_HEUR_MODE = 8,
  IS_NOTE = 11,
  IS_DESC = 15
};
enum mode { FALLBACK = 2, MODES = 4 };

typedef struct handle {
  int magic;
  void *stream;
  pthread_t thread; /* that set it */
  bool busy;
} handle;

typedef struct tensor {
  int type;
  int64_t dims[RANK], steps[RANK], id, align;
} tensor;
typedef struct conv {
  int type, mode;
  int64_t spatial, before[RANK], after[RANK], strides[RANK], dilations[RANK];
} conv;

typedef struct desc {
  int magic, kind;
  bool final;
  int users; /* other descriptors that were given this one */
  int64_t counts[SLOTS];
  tensor t;
  conv c;
  struct desc *parts[4]; /* FORWARD: x, w, y, conv; others: one */
  float alpha, beta;
  handle *h;
  int mode, engine;
  size_t space;
  int64_t ids[RANK];
  void *pointers[RANK], *workspace;
} desc;

/* ---- engines ---- */

enum { TENSOR_CORE, NARROWS_INPUTS, NARROWS_SUMS, NONDETERMINISTIC = 4 };
#define NOTE(n) (1u << (n))

/* In the order in which they are proposed, which is not that of their times. */
static const struct engine {
  int id;
  unsigned notes;
  bool fallback;
  bool groups;     /* can do more than one */
  int64_t align;   /* that it needs */
  bool transposes; /* in its workspace, in three steps */
  int settings;    /* that it is proposed with */
  double micros;
} engines[] = {
    {45, NOTE(TENSOR_CORE) | NOTE(NARROWS_SUMS), false, true, 2, false, 3, 1},
    {38, NOTE(TENSOR_CORE) | NOTE(NARROWS_INPUTS), false, true, 2, false, 20,
     1},
    {47, NOTE(TENSOR_CORE) | NOTE(NONDETERMINISTIC), false, false, 4, false, 1,
     6},
    {22, NOTE(TENSOR_CORE), false, true, 4, true, 1, 3},
    {28, 0, false, true, 4, false, 1, 9},
    {0, NOTE(9), true, true, 2, false, 1, 20},
};
enum { ENGINES = sizeof engines / sizeof *engines };

static int64_t product(const int64_t *v, int64_t n) {
  int64_t all = 1;
  for (int64_t i = 0; i < n; i++)
    all *= v[i];
  return all;
}

static const desc *forward_of(const desc *graph) { return graph->parts[0]; }
static int64_t groups_of(const desc *forward) {
  return forward->parts[0]->t.dims[1] / forward->parts[1]->t.dims[1];
}

static size_t space_of(const struct engine *e, const desc *forward) {
  const tensor *x = &forward->parts[0]->t, *y = &forward->parts[2]->t;
  int64_t rank = forward->parts[0]->counts[1];
  if (!e->transposes) return e->id == 47 ? 3072 : 0;
  return (size_t)(product(x->dims, rank) + product(y->dims, rank)) * 6;
}

static bool is_proposed(const struct engine *e, const desc *h) {
  const desc *forward = forward_of(h->parts[0]);
  for (int i = 0; i < 3; i++)
    if (forward->parts[i]->t.align < e->align) return false;
  return e->fallback == (h->mode == FALLBACK);
}

/* ---- descriptors and attributes ---- */

static size_t size_of(int type) {
  switch (type) {
  case IS_DATA_TYPE:
  case IS_FLOAT:
  case IS_CONV_MODE:
  case IS_HEUR_MODE:
  case IS_NOTE:
    return 4;
  default:
    return 8;
  }
}

#define AT(field) offsetof(desc, field)
static const struct rule {
  int kind, name, type;
  int64_t most;
  size_t to;
  int slot;
  bool may_lack;
} rules[] = {
    {TENSOR, 901, IS_DATA_TYPE, 1, AT(t.type), 0, false},
    {TENSOR, 902, IS_INT64, RANK, AT(t.dims), 1, false},
    {TENSOR, 903, IS_INT64, RANK, AT(t.steps), 2, false},
    {TENSOR, 906, IS_INT64, 1, AT(t.id), 3, false},
    {TENSOR, 900, IS_INT64, 1, AT(t.align), 4, false},
    {CONV, 100, IS_DATA_TYPE, 1, AT(c.type), 0, false},
    {CONV, 101, IS_CONV_MODE, 1, AT(c.mode), 1, false},
    {CONV, 106, IS_INT64, 1, AT(c.spatial), 2, false},
    {CONV, 105, IS_INT64, RANK, AT(c.before), 3, false},
    {CONV, 104, IS_INT64, RANK, AT(c.after), 4, false},
    {CONV, 103, IS_INT64, RANK, AT(c.strides), 5, false},
    {CONV, 102, IS_INT64, RANK, AT(c.dilations), 6, false},
    {FORWARD, 704, IS_DESC, 1, AT(parts[0]), 0, false},
    {FORWARD, 703, IS_DESC, 1, AT(parts[1]), 1, false},
    {FORWARD, 705, IS_DESC, 1, AT(parts[2]), 2, false},
    {FORWARD, 702, IS_DESC, 1, AT(parts[3]), 3, false},
    {FORWARD, 700, IS_FLOAT, 1, AT(alpha), 4, true},
    {FORWARD, 701, IS_FLOAT, 1, AT(beta), 5, true},
    {GRAPH, 801, IS_DESC, 1, AT(parts[0]), 0, false},
    {GRAPH, 800, IS_HANDLE, 1, AT(h), 1, false},
    {HEURISTICS, 201, IS_DESC, 1, AT(parts[0]), 0, false},
    {HEURISTICS, 200, IS_HEUR_MODE, 1, AT(mode), 1, false},
    {PLAN, 401, IS_DESC, 1, AT(parts[0]), 0, false},
    {PLAN, 400, IS_HANDLE, 1, AT(h), 1, false},
    {PACK, 1000, IS_INT64, RANK, AT(ids), 0, false},
    {PACK, 1001, IS_POINTER, RANK, AT(pointers), 1, false},
    {PACK, 1003, IS_POINTER, 1, AT(workspace), 2, true},
};
enum { RULES = sizeof rules / sizeof *rules };

static int bad(int code, const char *what, int name) {
  mock_mistake("cuDNN: %s (%d)", what, name);
  return code;
}

static bool is(const desc *d, int kind) {
  return d && d->magic == DESC && d->kind == kind;
}

/* What a descriptor is that is given as this attribute. */
static int kind_given(int name) {
  switch (name) {
  case 702:
    return CONV;
  case 801:
    return FORWARD;
  case 201:
    return GRAPH;
  case 401:
    return CONFIG;
  default:
    return TENSOR;
  }
}

MOCK_API size_t cudnnGetVersion(void) {
  const char *v = getenv("PRUNE_MOCK_CUDNN");
  return v ? (size_t)strtoul(v, NULL, 10) : 91900;
}

MOCK_API int cudnnCreate(void **out) {
  if (mock_refuses("cudnnCreate")) return NOT_INITIALIZED;
  handle *h = calloc(1, sizeof *h);
  if (!h) return ALLOC_FAILED;
  h->magic = HANDLE;
  *out = h;
  mock_handles(1);
  return OK;
}
MOCK_API int cudnnDestroy(void *p) {
  handle *h = p;
  if (!h || h->magic != HANDLE) return bad(INVALID, "not a handle", 0);
  free(h);
  mock_handles(-1);
  return OK;
}
/* One thread at a time has a handle. */
static bool begin(handle *h) {
  if (!__atomic_exchange_n(&h->busy, true, __ATOMIC_ACQUIRE)) return true;
  (void)bad(INVALID, "two threads use a handle", 0);
  return false;
}
static void end(handle *h) {
  __atomic_store_n(&h->busy, false, __ATOMIC_RELEASE);
}
MOCK_API int cudnnSetStream(void *p, void *stream) {
  handle *h = p;
  if (!h || h->magic != HANDLE) return bad(INVALID, "not a handle", 0);
  if (!begin(h)) return INVALID;
  h->stream = stream;
  h->thread = pthread_self();
  end(h);
  return OK;
}

static bool is_known(int kind) {
  for (int i = 0; i < RULES; i++)
    if (rules[i].kind == kind) return true;
  return kind == CONFIG || kind == ENGINE;
}

MOCK_API int cudnnBackendCreateDescriptor(int kind, void **out) {
  if (mock_refuses("cudnnBackendCreateDescriptor")) return NOT_SUPPORTED;
  if (!is_known(kind)) return bad(NOT_SUPPORTED, "a kind of descriptor", kind);
  desc *d = calloc(1, sizeof *d);
  if (!d) return ALLOC_FAILED;
  d->magic = DESC;
  d->kind = kind;
  d->alpha = 1;
  *out = d;
  mock_handles(1);
  return OK;
}

MOCK_API int cudnnBackendDestroyDescriptor(void *p) {
  desc *d = p;
  if (!d) return OK;
  if (d->magic != DESC) return bad(INVALID, "not a descriptor", 0);
  /* Whether the real one copies is not written down. */
  if (d->users) (void)bad(INVALID, "destroyed while it is used", d->kind);
  for (int i = 0; i < 4; i++)
    if (d->parts[i]) d->parts[i]->users--;
  d->magic = 0;
  free(d);
  mock_handles(-1);
  return OK;
}

static int set_part(desc *d, const struct rule *r, desc *given) {
  desc *before;
  /* The real one throws. */
  if (!is(given, kind_given(r->name)))
    return bad(INVALID, "a descriptor of another kind", r->name);
  memcpy(&before, (char *)d + r->to, sizeof before);
  if (before) before->users--;
  given->users++;
  memcpy((char *)d + r->to, &given, sizeof given);
  d->counts[r->slot] = 1;
  return OK;
}

MOCK_API int cudnnBackendSetAttribute(void *p, int name, int type,
                                      int64_t count, const void *data) {
  desc *d = p, *given;
  const struct rule *r = NULL;
  if (!d) return bad(IS_NULL, "no descriptor", name);
  if (d->magic != DESC) return bad(INVALID, "not a descriptor", name);
  if (d->final) return bad(INVALID, "set after it was finalised", name);
  for (int i = 0; i < RULES; i++)
    if (rules[i].kind == d->kind && rules[i].name == name) r = &rules[i];
  if (!r) return bad(INVALID, "an attribute that there is not", name);
  if (type != r->type) return bad(WRONG_TYPE, "the attribute's type", name);
  if (!data || count < 1 || count > r->most)
    return bad(INVALID, "the number of elements", name);
  if (type == IS_DESC) {
    memcpy(&given, data, sizeof given);
    return set_part(d, r, given);
  }
  memcpy((char *)d + r->to, data, (size_t)count * size_of(type));
  d->counts[r->slot] = count;
  if (type != IS_HANDLE) return OK;
  return d->h && d->h->magic == HANDLE ? OK : bad(IS_NULL, "no handle", name);
}

/* ---- finalising ---- */

static int finalize_tensor(const desc *d) {
  const tensor *t = &d->t;
  size_t size = t->type == 0 ? 4 : 2;
  if (t->type != 0 && t->type != 2 && t->type != 9) return NOT_SUPPORTED;
  if (d->counts[1] != d->counts[2]) return INVALID;
  return t->align <= 0 || (size_t)t->align % size ? INVALID : OK;
}

static int finalize_conv(const desc *d) {
  const conv *c = &d->c;
  if (c->type != 0 || c->mode != 1) return NOT_SUPPORTED;
  if (c->spatial < 1 || c->spatial > 3) return INVALID;
  for (int i = 3; i < 7; i++)
    if (d->counts[i] != c->spatial) return INVALID;
  for (int64_t i = 0; i < c->spatial; i++)
    if (c->before[i] < 0 || c->after[i] < 0 || c->strides[i] < 1 ||
        c->dilations[i] < 1)
      return INVALID;
  return OK;
}

static int finalize_forward(const desc *d) {
  const tensor *x = &d->parts[0]->t, *w = &d->parts[1]->t, *y = &d->parts[2]->t;
  const conv *c = &d->parts[3]->c;
  int64_t rank = d->parts[0]->counts[1];
  for (int i = 0; i < 4; i++)
    if (!d->parts[i]->final) return bad(INVALID, "not finalised", i);
  if (d->parts[1]->counts[1] != rank || d->parts[2]->counts[1] != rank ||
      rank - 2 < c->spatial || x->type != w->type || x->type != y->type)
    return INVALID;
  if (x->dims[1] == 0 || w->dims[1] == 0 || x->dims[1] % w->dims[1] ||
      w->dims[0] % (x->dims[1] / w->dims[1]) || y->dims[1] != w->dims[0] ||
      y->dims[0] != x->dims[0])
    return INVALID;
  for (int64_t i = 0; i < c->spatial; i++) {
    int64_t free = x->dims[i + 2] + c->before[i] + c->after[i] -
                   (w->dims[i + 2] - 1) * c->dilations[i] - 1;
    if (free < 0 || y->dims[i + 2] != free / c->strides[i] + 1) return INVALID;
  }
  return d->alpha == 1.0f && d->beta == 0.0f ? OK : NOT_SUPPORTED;
}

static int finalize_heuristics(const desc *d) {
  mock_asked();
  if (mock_is_capturing())
    return bad(NOT_SUPPORTED, "asked while a stream is captured", d->kind);
  if (!d->parts[0]->final) return bad(NOT_FINALIZED, "not finalised", 201);
  return d->mode >= 0 && d->mode < MODES ? OK : INVALID;
}

static int finalize_plan(desc *d) {
  const desc *config = d->parts[0];
  mock_asked();
  if (mock_is_capturing())
    return bad(NOT_SUPPORTED, "planned while a stream is captured", d->kind);
  if (!config->final) return bad(NOT_FINALIZED, "not finalised", 401);
  const struct engine *e = &engines[config->engine];
  if (config->parts[0]->h != d->h) return bad(INVALID, "another handle", 400);
  const desc *forward = forward_of(config->parts[0]);
  if (groups_of(forward) > 1 && !e->groups) return NOT_SUPPORTED;
  d->space = space_of(e, forward);
  return OK;
}

static int finalize(desc *d) {
  switch (d->kind) {
  case TENSOR:
    return finalize_tensor(d);
  case CONV:
    return finalize_conv(d);
  case FORWARD:
    return finalize_forward(d);
  case GRAPH:
    return d->parts[0]->final ? OK : bad(NOT_FINALIZED, "not finalised", 801);
  case HEURISTICS:
    return finalize_heuristics(d);
  case PLAN:
    return finalize_plan(d);
  case PACK:
    return d->counts[0] == d->counts[1] ? OK : INVALID;
  default:
    return bad(INVALID, "finalised by hand", d->kind);
  }
}

MOCK_API int cudnnBackendFinalize(void *p) {
  desc *d = p;
  if (!d) return bad(IS_NULL, "no descriptor", 0);
  if (d->magic != DESC) return bad(INVALID, "not a descriptor", 0);
  if (d->final) return bad(INVALID, "finalised twice", d->kind);
  if (mock_refuses("cudnnBackendFinalize") && d->kind != PACK)
    return NOT_SUPPORTED;
  for (int i = 0; i < RULES; i++)
    if (rules[i].kind == d->kind && !rules[i].may_lack &&
        d->counts[rules[i].slot] == 0)
      return bad(INVALID, "an attribute is missing", rules[i].name);
  int code = finalize(d);
  d->final = code == OK;
  return code;
}

/* ---- reading ---- */

static int put_result(const desc *d, int engine, desc *out) {
  if (!is(out, CONFIG) || out->final)
    return bad(INVALID, "no place for a result", 202);
  out->engine = engine;
  out->parts[0] = d->parts[0];
  d->parts[0]->users++;
  out->final = true;
  return OK;
}

static int get_results(const desc *d, int64_t wanted, int64_t *count,
                       desc **out) {
  int64_t n = 0;
  for (int i = 0; i < ENGINES; i++)
    for (int k = 0; k < engines[i].settings && is_proposed(&engines[i], d); k++)
      if (n < wanted && put_result(d, i, out[n++])) return INVALID;
  *count = wanted ? n : ENGINES; /* without places, as many as there may be */
  return OK;
}

static int get_notes(unsigned notes, int64_t wanted, int64_t *count, int *out) {
  *count = 0;
  for (int i = 0; i < 32; i++)
    if (notes >> i & 1 && *count < wanted) out[(*count)++] = i;
  return OK;
}

MOCK_API int cudnnBackendGetAttribute(const void *p, int name, int type,
                                      int64_t wanted, int64_t *count,
                                      void *out) {
  const desc *d = p;
  desc *engine;
  static const struct {
    int kind, name, type;
  } known[] = {{HEURISTICS, 202, IS_DESC},
               {CONFIG, 300, IS_DESC},
               {ENGINE, 1301, IS_INT64},
               {ENGINE, 1303, IS_NOTE},
               {PLAN, 402, IS_INT64}};
  bool found = false;
  if (!d || d->magic != DESC) return bad(IS_NULL, "no descriptor", name);
  if (!d->final) return bad(NOT_INITIALIZED, "read before it is final", name);
  if (mock_refuses("cudnnBackendGetAttribute")) return NOT_SUPPORTED;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    found |= known[i].kind == d->kind && known[i].name == name &&
             known[i].type == type;
  if (!found || wanted < 0 || (wanted && !out))
    return bad(INVALID, "an attribute that cannot be read", name);
  *count = 1;
  switch (name) {
  case 202:
    return get_results(d, wanted, count, out);
  case 300:
    memcpy(&engine, out, sizeof engine);
    if (!is(engine, ENGINE) || engine->final)
      return bad(INVALID, "no place for the engine", name);
    engine->engine = d->engine;
    engine->final = true;
    return OK;
  case 1301:
    memcpy(out, &(int64_t){engines[d->engine].id}, sizeof(int64_t));
    return OK;
  case 1303:
    return get_notes(engines[d->engine].notes, wanted, count, out);
  default:
    memcpy(out, &(int64_t){(int64_t)d->space}, sizeof(int64_t));
    return OK;
  }
}

/* ---- computing ---- */

typedef struct work {
  tensor t[3]; /* x, w, y */
  conv c;
  void *p[3];
  int64_t rank;
} work;

static int element_type(int type) { return type == 9 ? MOCK_BF16 : type; }

/* Takes e apart; the offset. */
static int64_t place(const tensor *t, int64_t rank, int64_t e, int64_t *index) {
  int64_t at = 0;
  for (int64_t i = rank - 1; i >= 0; i--) {
    index[i] = e % t->dims[i];
    e /= t->dims[i];
    at += index[i] * t->steps[i];
  }
  return at;
}

static double sum_of(const work *s, const int64_t *o) {
  const tensor *x = &s->t[0], *w = &s->t[1];
  int64_t tap[RANK], all = product(w->dims, s->rank) / w->dims[0];
  int64_t groups = x->dims[1] / w->dims[1];
  int64_t group = o[1] / (w->dims[0] / groups);
  double sum = 0;
  for (int64_t k = 0; k < all; k++) {
    int64_t from = place(w, s->rank, o[1] * all + k, tap);
    int64_t at =
        o[0] * x->steps[0] + (group * w->dims[1] + tap[1]) * x->steps[1];
    bool inside = true;
    for (int64_t i = 0; i < s->rank - 2; i++) {
      int64_t y = o[i + 2] * s->c.strides[i] + tap[i + 2] * s->c.dilations[i] -
                  s->c.before[i];
      inside = inside && y >= 0 && y < x->dims[i + 2];
      at += y * x->steps[i + 2];
    }
    if (inside)
      sum += mock_load(s->p[0], (size_t)at, element_type(x->type)) *
             mock_load(s->p[1], (size_t)from, element_type(w->type));
  }
  return sum;
}

static void convolve(const void *data) {
  const work *s = data;
  const tensor *y = &s->t[2];
  int64_t index[RANK], all = product(y->dims, s->rank);
  for (int64_t e = 0; e < all; e++) {
    int64_t at = place(y, s->rank, e, index);
    mock_store(s->p[2], (size_t)at, element_type(y->type), sum_of(s, index));
  }
}

static bool lies_in_device(const tensor *t, int64_t rank, const void *p) {
  int64_t last = 0;
  for (int64_t i = 0; i < rank; i++)
    last += (t->dims[i] - 1) * t->steps[i];
  return (uintptr_t)p % (uintptr_t)t->align == 0 &&
         mock_is_device(p, (size_t)(last + 1) * (t->type == 0 ? 4 : 2));
}

static int fill(const desc *plan, const desc *pack, work *s) {
  const desc *forward = forward_of(plan->parts[0]->parts[0]);
  *s = (work){.c = forward->parts[3]->c, .rank = forward->parts[0]->counts[1]};
  if (pack->counts[0] != 3) return bad(INVALID, "the number of tensors", 1000);
  for (int i = 0; i < 3; i++) {
    s->t[i] = forward->parts[i]->t;
    for (int k = 0; k < 3; k++)
      if (pack->ids[k] == s->t[i].id) s->p[i] = pack->pointers[k];
    if (!s->p[i]) return bad(INVALID, "a tensor without a place", 1000);
    if (!lies_in_device(&s->t[i], s->rank, s->p[i]))
      return bad(INVALID, "memory that is not its own", 1001);
  }
  if (plan->space && !mock_is_device(pack->workspace, plan->space))
    return bad(INVALID, "a workspace that is not its own", 1003);
  return OK;
}

MOCK_API int cudnnBackendExecute(void *p, void *plan_desc, void *pack_desc) {
  handle *h = p;
  const desc *plan = plan_desc, *pack = pack_desc;
  work s;
  if (!h || h->magic != HANDLE || !is(plan, PLAN) || !is(pack, PACK))
    return bad(INVALID, "neither a plan nor a pack", 0);
  if (!plan->final || !pack->final)
    return bad(NOT_FINALIZED, "executed before it is final", 0);
  if (mock_refuses("cudnnBackendExecute")) return FAILED;
  if (plan->h != h) return bad(INVALID, "another handle", 0);
  int code = fill(plan, pack, &s);
  if (code || !begin(h)) return code ? code : INVALID;
  if (!pthread_equal(h->thread, pthread_self()))
    code = bad(INVALID, "the stream is another thread's", 0);
  if (!code)
    code = mock_enqueue(h->stream, convolve, &s, sizeof s,
                        engines[plan->parts[0]->engine].micros);
  end(h);
  return code;
}
