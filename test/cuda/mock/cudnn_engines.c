/* The engines of libcudnn's mock: what each can do, what it is noted for. */
#include "cudnn.h"

enum { TENSOR_CORE, NARROWS_INPUTS, NARROWS_SUMS, NONDETERMINISTIC = 4 };
enum { FALLBACK = 2, CHUNK = 8 };
#define NOTE(n) (1u << (n))

/* In the order in which they are proposed, which is not that of their times. */
static const struct engine {
  int id;
  unsigned notes;
  bool attention;  /* else a convolution */
  bool fallback;   /* whose heuristics have it; attention: both */
  bool groups;     /* can do more than one; attention: rows of one query */
  int64_t align;   /* that it needs */
  bool transposes; /* in its workspace, in three steps */
  int settings;    /* that it is proposed with */
  double micros;
} engines[] = {
    {45, NOTE(TENSOR_CORE) | NOTE(NARROWS_SUMS), false, false, true, 2, false,
     3, 1},
    {38, NOTE(TENSOR_CORE) | NOTE(NARROWS_INPUTS), false, false, true, 2, false,
     20, 1},
    {47, NOTE(TENSOR_CORE) | NOTE(NONDETERMINISTIC), false, false, false, 4,
     false, 1, 6},
    {22, NOTE(TENSOR_CORE), false, false, true, 4, true, 1, 3},
    {28, 0, false, false, true, 4, false, 1, 9},
    {0, NOTE(9), false, true, true, 2, false, 1, 20},
    {2, NOTE(TENSOR_CORE), true, false, false, 16, false, 1, 8},
    {1, NOTE(TENSOR_CORE), true, true, true, 16, false, 1, 4},
};
enum { ENGINES = sizeof engines / sizeof *engines };

int cudnn_engines(void) { return ENGINES; }
int64_t cudnn_engine_id(int engine) { return engines[engine].id; }
unsigned cudnn_engine_notes(int engine) { return engines[engine].notes; }
double cudnn_engine_micros(int engine) { return engines[engine].micros; }
int cudnn_engine_settings(int engine) { return engines[engine].settings; }

static int64_t elements(const desc *of) {
  int64_t all = 1;
  for (int64_t i = 0; i < rank_of(of); i++)
    all *= of->t.dims[i];
  return all;
}

bool cudnn_has_empty(const desc *graph) {
  for (int64_t i = 0; i < graph->counts[0]; i++)
    for (int k = FIRST; k <= RESULT; k++)
      if (graph->parts[i]->parts[k] && elements(graph->parts[i]->parts[k]) == 0)
        return true;
  return false;
}

size_t cudnn_engine_space(int engine, const desc *graph) {
  const struct engine *e = &engines[engine];
  const desc *first = graph->parts[0];
  if (e->attention) return e->groups ? 0 : 256;
  if (!e->transposes) return e->id == 47 ? 3072 : 0;
  return (size_t)(elements(first->parts[FIRST]) +
                  elements(first->parts[RESULT])) *
         6;
}

/* ---- attention ---- */

static bool does(const desc *op, int kind, int mode) {
  return op && op->kind == kind &&
         (kind == DO_MATMUL || op->parts[HOW]->mode == mode);
}

/* The graph is the one that attention is known by. */
static bool is_attention(const desc *graph) {
  static const struct {
    int kind, mode;
    bool may_lack;
  } wanted[] = {{DO_MATMUL, 0, false},      {DO_POINTWISE, MUL, true},
                {DO_POINTWISE, ADD, true},  {DO_REDUCE, MAX, false},
                {DO_POINTWISE, SUB, false}, {DO_POINTWISE, EXP, false},
                {DO_REDUCE, SUM, false},    {DO_POINTWISE, LOG, false},
                {DO_POINTWISE, ADD, false}, {DO_POINTWISE, DIV, false},
                {DO_MATMUL, 0, false}};
  int64_t at = 0;
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
    if (at < graph->counts[0] &&
        does(graph->parts[at], wanted[i].kind, wanted[i].mode))
      at++;
    else if (!wanted[i].may_lack)
      return false;
  return at == graph->counts[0];
}

/* What is read has the dimensions of the result, or one element for all. */
static bool elements_fit(const desc *op) {
  const desc *y = op->parts[RESULT];
  for (int k = FIRST; k <= SECOND; k++)
    for (int64_t i = 0; op->parts[k] && i < rank_of(y); i++)
      if (op->parts[k]->t.dims[i] != y->t.dims[i] &&
          op->parts[k]->t.dims[i] != 1)
        return false;
  return true;
}

static bool attends(const struct engine *e, const desc *graph, int mode) {
  const desc *first = graph->parts[0], *last;
  if (!is_attention(graph)) return false;
  for (int64_t i = 0; i < graph->counts[0]; i++)
    if (graph->parts[i]->kind == DO_POINTWISE && !elements_fit(graph->parts[i]))
      return false;
  last = graph->parts[graph->counts[0] - 1];
  const desc *stored[] = {first->parts[FIRST], first->parts[SECOND],
                          last->parts[SECOND], last->parts[RESULT]};
  for (int i = 0; i < 4; i++)
    if (stored[i]->t.align < e->align) return false;
  if (last->parts[FIRST]->t.type != last->parts[SECOND]->t.type) return false;
  if (first->parts[FIRST]->t.dims[3] % CHUNK ||
      last->parts[RESULT]->t.dims[3] % CHUNK)
    return false;
  if (mode == FALLBACK && !e->fallback) return false;
  return e->groups || first->parts[FIRST]->t.dims[2] > 1;
}

/* ---- convolutions ---- */

static bool convolves(const struct engine *e, const desc *graph, int mode) {
  const desc *forward = graph->parts[0];
  if (graph->counts[0] != 1 || forward->kind != FORWARD) return false;
  for (int i = 0; i < 3; i++)
    if (forward->parts[i]->t.align < e->align) return false;
  return e->fallback == (mode == FALLBACK);
}

bool cudnn_engine_is_proposed(int engine, const desc *graph, int mode) {
  const struct engine *e = &engines[engine];
  return e->attention ? attends(e, graph, mode) : convolves(e, graph, mode);
}

bool cudnn_engine_can(int engine, const desc *graph) {
  const struct engine *e = &engines[engine];
  return e->attention || groups_of(graph->parts[0]) == 1 || e->groups;
}
