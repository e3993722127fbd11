/* libcudnn.so.9: see mock.h. The part of the graph interface that describes one
 * convolution, or attention, with the rules that the real one (9.19) has for
 * descriptors and attributes, and the numbers with which it refuses. */
#include <stdlib.h>
#include <string.h>

#include "cudnn.h"
#include "mock.h"

enum type {
  IS_HANDLE = 0,
  IS_DATA_TYPE = 1,
  IS_BOOL = 2,
  IS_INT64 = 3,
  IS_FLOAT = 4,
  IS_POINTER = 6,
  IS_CONV_MODE = 7,
  IS_HEUR_MODE = 8,
  IS_NOTE = 11,
  IS_POINTWISE = 14,
  IS_DESC = 15,
  IS_REDUCE = 18
};
enum mode { FALLBACK = 2, MODES = 4 };

/* ---- descriptors and attributes ---- */

static size_t size_of(int type) {
  switch (type) {
  case IS_DATA_TYPE:
  case IS_FLOAT:
  case IS_CONV_MODE:
  case IS_HEUR_MODE:
  case IS_NOTE:
  case IS_POINTWISE:
  case IS_REDUCE:
    return 4;
  case IS_BOOL:
    return sizeof(bool);
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
    {TENSOR, 907, IS_BOOL, 1, AT(t.inside), 5, true},
    {TENSOR, 908, IS_BOOL, 1, AT(t.number), 6, true},
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
    {POINTWISE, 0, IS_POINTWISE, 1, AT(mode), 0, false},
    {POINTWISE, 1, IS_DATA_TYPE, 1, AT(type), 1, false},
    {REDUCE, 1600, IS_REDUCE, 1, AT(mode), 0, false},
    {REDUCE, 1601, IS_DATA_TYPE, 1, AT(type), 1, false},
    {MATMUL, 1500, IS_DATA_TYPE, 1, AT(type), 0, false},
    {DO_POINTWISE, 751, IS_DESC, 1, AT(parts[FIRST]), 0, false},
    {DO_POINTWISE, 752, IS_DESC, 1, AT(parts[SECOND]), 1, true},
    {DO_POINTWISE, 753, IS_DESC, 1, AT(parts[RESULT]), 2, false},
    {DO_POINTWISE, 750, IS_DESC, 1, AT(parts[HOW]), 3, false},
    {DO_REDUCE, 1610, IS_DESC, 1, AT(parts[FIRST]), 0, false},
    {DO_REDUCE, 1611, IS_DESC, 1, AT(parts[RESULT]), 2, false},
    {DO_REDUCE, 1612, IS_DESC, 1, AT(parts[HOW]), 3, false},
    {DO_MATMUL, 1520, IS_DESC, 1, AT(parts[FIRST]), 0, false},
    {DO_MATMUL, 1521, IS_DESC, 1, AT(parts[SECOND]), 1, false},
    {DO_MATMUL, 1522, IS_DESC, 1, AT(parts[RESULT]), 2, false},
    {DO_MATMUL, 1523, IS_DESC, 1, AT(parts[HOW]), 3, false},
    {GRAPH, 801, IS_DESC, OPS, AT(parts[0]), 0, false},
    {GRAPH, 800, IS_HANDLE, 1, AT(h), 1, false},
    {HEURISTICS, 201, IS_DESC, 1, AT(parts[0]), 0, false},
    {HEURISTICS, 200, IS_HEUR_MODE, 1, AT(mode), 1, false},
    {PLAN, 401, IS_DESC, 1, AT(parts[0]), 0, false},
    {PLAN, 400, IS_HANDLE, 1, AT(h), 1, false},
    {PACK, 1000, IS_INT64, OPS, AT(ids), 0, false},
    {PACK, 1001, IS_POINTER, OPS, AT(pointers), 1, false},
    {PACK, 1003, IS_POINTER, 1, AT(workspace), 2, true},
};
enum { RULES = sizeof rules / sizeof *rules };

int cudnn_bad(int code, const char *what, int name) {
  mock_mistake("cuDNN: %s (%d)", what, name);
  return code;
}

static bool is(const desc *d, int kind) {
  return d && d->magic == DESC && d->kind == kind;
}

/* What a descriptor is that is given as this attribute, but for a graph's. */
static int kind_given(int name) {
  switch (name) {
  case 702:
    return CONV;
  case 750:
    return POINTWISE;
  case 1523:
    return MATMUL;
  case 1612:
    return REDUCE;
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
  if (!h || h->magic != HANDLE) return cudnn_bad(INVALID, "not a handle", 0);
  free(h);
  mock_handles(-1);
  return OK;
}
/* One thread at a time has a handle. */
static bool begin(handle *h) {
  if (!__atomic_exchange_n(&h->busy, true, __ATOMIC_ACQUIRE)) return true;
  (void)cudnn_bad(INVALID, "two threads use a handle", 0);
  return false;
}
static void end(handle *h) {
  __atomic_store_n(&h->busy, false, __ATOMIC_RELEASE);
}
MOCK_API int cudnnSetStream(void *p, void *stream) {
  handle *h = p;
  if (!h || h->magic != HANDLE) return cudnn_bad(INVALID, "not a handle", 0);
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
  if (!is_known(kind))
    return cudnn_bad(NOT_SUPPORTED, "a kind of descriptor", kind);
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
  if (d->magic != DESC) return cudnn_bad(INVALID, "not a descriptor", 0);
  /* Whether the real one copies is not written down. */
  if (d->users) (void)cudnn_bad(INVALID, "destroyed while it is used", d->kind);
  for (int i = 0; i < OPS; i++)
    if (d->parts[i]) d->parts[i]->users--;
  d->magic = 0;
  free(d);
  mock_handles(-1);
  return OK;
}

/* The real one throws where it is of another kind. */
static int set_part(desc *d, const struct rule *r, int64_t i, desc *given) {
  desc **to = (desc **)((char *)d + r->to) + i;
  bool fits = r->name == 801
                  ? given && is_operation(given->kind) && is(given, given->kind)
                  : is(given, kind_given(r->name));
  if (!fits) return cudnn_bad(INVALID, "a descriptor of another kind", r->name);
  if (*to) (*to)->users--;
  given->users++;
  *to = given;
  return OK;
}

MOCK_API int cudnnBackendSetAttribute(void *p, int name, int type,
                                      int64_t count, const void *data) {
  desc *d = p;
  const struct rule *r = NULL;
  if (!d) return cudnn_bad(IS_NULL, "no descriptor", name);
  if (d->magic != DESC) return cudnn_bad(INVALID, "not a descriptor", name);
  if (d->final) return cudnn_bad(INVALID, "set after it was finalised", name);
  for (int i = 0; i < RULES; i++)
    if (rules[i].kind == d->kind && rules[i].name == name) r = &rules[i];
  if (!r) return cudnn_bad(INVALID, "an attribute that there is not", name);
  if (type != r->type)
    return cudnn_bad(WRONG_TYPE, "the attribute's type", name);
  if (!data || count < 1 || count > r->most)
    return cudnn_bad(INVALID, "the number of elements", name);
  for (int64_t i = 0; i < count && type == IS_DESC; i++) {
    int code = set_part(d, r, i, ((desc *const *)data)[i]);
    if (code) return code;
  }
  if (type != IS_DESC)
    memcpy((char *)d + r->to, data, (size_t)count * size_of(type));
  d->counts[r->slot] = count;
  if (type != IS_HANDLE) return OK;
  return d->h && d->h->magic == HANDLE ? OK
                                       : cudnn_bad(IS_NULL, "no handle", name);
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

static bool goes_into(int64_t of, int64_t n) {
  return of == n || (of && n % of == 0);
}

/* Whether dimensions fit is what engines look at. */
static int finalize_pointwise(const desc *d) {
  const desc *x = d->parts[FIRST], *b = d->parts[SECOND], *y = d->parts[RESULT];
  return rank_of(x) != rank_of(y) || (b && rank_of(b) != rank_of(y)) ? INVALID
                                                                     : OK;
}

static int finalize_reduce(const desc *d) {
  const desc *x = d->parts[FIRST], *y = d->parts[RESULT];
  if (rank_of(x) != rank_of(y)) return INVALID;
  for (int64_t i = 0; i < rank_of(y); i++)
    if (!goes_into(y->t.dims[i], x->t.dims[i])) return INVALID;
  return OK;
}

static int finalize_matmul(const desc *d) {
  const desc *a = d->parts[FIRST], *b = d->parts[SECOND], *c = d->parts[RESULT];
  int64_t r = rank_of(a);
  if (rank_of(b) != r || rank_of(c) != r || r < 2) return INVALID;
  for (int64_t i = 0; i < r - 2; i++)
    if (!goes_into(a->t.dims[i], b->t.dims[i]) &&
        !goes_into(b->t.dims[i], a->t.dims[i]))
      return INVALID;
  return a->t.dims[r - 1] == b->t.dims[r - 2] &&
                 a->t.dims[r - 2] == c->t.dims[r - 2] &&
                 b->t.dims[r - 1] == c->t.dims[r - 1]
             ? OK
             : INVALID;
}

static int finalize_heuristics(const desc *d) {
  mock_asked();
  if (mock_is_capturing())
    return cudnn_bad(NOT_SUPPORTED, "asked while a stream is captured",
                     d->kind);
  if (cudnn_has_empty(d->parts[0])) /* the real one divides by zero */
    return cudnn_bad(INVALID, "asked for no elements", d->kind);
  return d->mode >= 0 && d->mode < MODES ? OK : INVALID;
}

static int finalize_plan(desc *d) {
  const desc *config = d->parts[0];
  mock_asked();
  if (mock_is_capturing())
    return cudnn_bad(NOT_SUPPORTED, "planned while a stream is captured",
                     d->kind);
  const desc *graph = config->parts[0];
  if (graph->h != d->h) return cudnn_bad(INVALID, "another handle", 400);
  if (!cudnn_engine_can(config->engine, graph)) return NOT_SUPPORTED;
  d->space = cudnn_engine_space(config->engine, graph);
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
  case DO_POINTWISE:
    return finalize_pointwise(d);
  case DO_REDUCE:
    return finalize_reduce(d);
  case DO_MATMUL:
    return finalize_matmul(d);
  case POINTWISE:
  case REDUCE:
  case MATMUL:
  case GRAPH:
    return OK;
  case HEURISTICS:
    return finalize_heuristics(d);
  case PLAN:
    return finalize_plan(d);
  case PACK:
    return d->counts[0] == d->counts[1] ? OK : INVALID;
  default:
    return cudnn_bad(INVALID, "finalised by hand", d->kind);
  }
}

MOCK_API int cudnnBackendFinalize(void *p) {
  desc *d = p;
  if (!d) return cudnn_bad(IS_NULL, "no descriptor", 0);
  if (d->magic != DESC) return cudnn_bad(INVALID, "not a descriptor", 0);
  if (d->final) return cudnn_bad(INVALID, "finalised twice", d->kind);
  if (mock_refuses("cudnnBackendFinalize") && d->kind != PACK)
    return NOT_SUPPORTED;
  for (int i = 0; i < RULES; i++)
    if (rules[i].kind == d->kind && !rules[i].may_lack &&
        d->counts[rules[i].slot] == 0)
      return cudnn_bad(INVALID, "an attribute is missing", rules[i].name);
  for (int i = 0; i < OPS; i++)
    if (d->parts[i] && !d->parts[i]->final)
      return cudnn_bad(is_operation(d->kind) ? INVALID : NOT_FINALIZED,
                       "of parts that are not final", d->kind);
  int code = finalize(d);
  d->final = code == OK;
  return code;
}

/* ---- reading ---- */

static int put_result(const desc *d, int engine, desc *out) {
  if (!is(out, CONFIG) || out->final)
    return cudnn_bad(INVALID, "no place for a result", 202);
  out->engine = engine;
  out->parts[0] = d->parts[0];
  d->parts[0]->users++;
  out->final = true;
  return OK;
}

static int get_results(const desc *d, int64_t wanted, int64_t *count,
                       desc **out) {
  int64_t n = 0;
  for (int i = 0; i < cudnn_engines(); i++)
    for (int k = 0; k < cudnn_engine_settings(i) &&
                    cudnn_engine_is_proposed(i, d->parts[0], d->mode);
         k++)
      if (n < wanted && put_result(d, i, out[n++])) return INVALID;
  /* Without places, as many as there may be. */
  *count = wanted ? n : cudnn_engines();
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
  if (!d || d->magic != DESC) return cudnn_bad(IS_NULL, "no descriptor", name);
  if (!d->final)
    return cudnn_bad(NOT_INITIALIZED, "read before it is final", name);
  if (mock_refuses("cudnnBackendGetAttribute")) return NOT_SUPPORTED;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    found |= known[i].kind == d->kind && known[i].name == name &&
             known[i].type == type;
  if (!found || wanted < 0 || (wanted && !out))
    return cudnn_bad(INVALID, "an attribute that cannot be read", name);
  *count = 1;
  switch (name) {
  case 202:
    return get_results(d, wanted, count, out);
  case 300:
    memcpy(&engine, out, sizeof engine);
    if (!is(engine, ENGINE) || engine->final)
      return cudnn_bad(INVALID, "no place for the engine", name);
    engine->engine = d->engine;
    engine->final = true;
    return OK;
  case 1301:
    memcpy(out, &(int64_t){cudnn_engine_id(d->engine)}, sizeof(int64_t));
    return OK;
  case 1303:
    return get_notes(cudnn_engine_notes(d->engine), wanted, count, out);
  default:
    memcpy(out, &(int64_t){(int64_t)d->space}, sizeof(int64_t));
    return OK;
  }
}

/* ---- running ---- */

MOCK_API int cudnnBackendExecute(void *p, void *plan_desc, void *pack_desc) {
  handle *h = p;
  const desc *plan = plan_desc, *pack = pack_desc;
  if (!h || h->magic != HANDLE || !is(plan, PLAN) || !is(pack, PACK))
    return cudnn_bad(INVALID, "neither a plan nor a pack", 0);
  if (!plan->final || !pack->final)
    return cudnn_bad(NOT_FINALIZED, "executed before it is final", 0);
  if (mock_refuses("cudnnBackendExecute")) return FAILED;
  if (plan->h != h) return cudnn_bad(INVALID, "another handle", 0);
  if (plan->space && !mock_is_device(pack->workspace, plan->space))
    return cudnn_bad(INVALID, "a workspace that is not its own", 1003);
  if (!begin(h)) return INVALID;
  const desc *config = plan->parts[0];
  int code = pthread_equal(h->thread, pthread_self())
                 ? cudnn_compute(config->parts[0], pack, h->stream,
                                 cudnn_engine_micros(config->engine))
                 : cudnn_bad(INVALID, "the stream is another thread's", 0);
  end(h);
  return code;
}
