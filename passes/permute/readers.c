/* Weights that read along a group; see permute.h. */
#include <math.h>
#include <string.h>

#include "passes/permute/permute.h"

/* ---- where columns are ---- */

/* Axes [first, last] of a constant. */
typedef struct axes {
  int32_t first, last;
} axes;

/* Those that are the line, or false. */
static bool axes_of(const prn_type *type, const prn_line *l, axes *out) {
  for (int32_t last = type->rank; last-- > 0;) {
    int64_t length = 1;
    if (prn_axis_view_of(type, last).inner != l->inner) continue;
    for (int32_t first = last; first >= 0 && length <= l->length; first--) {
      length *= prn_axis_view_of(type, first).length;
      *out = (axes){first, last};
      if (length == l->length) return true;
    }
  }
  return false;
}

/* Whether the line runs over a part of the axis. */
static bool overlaps(const prn_type *type, int32_t axis, const prn_line *l) {
  prn_axis_view v = prn_axis_view_of(type, axis);
  return v.length > 1 && v.inner < l->inner * l->length &&
         l->inner < v.inner * v.length;
}

/* The index of the group at each place of the line; -1: none, -2: several. */
static int64_t *indices_of(prn_pass_env *env, const prn_group *g,
                           const prn_target *t, const prn_line *l, axes a) {
  const prn_coupling *c = prn_pass_coupling(env);
  const prn_value *v = &t->site->constant->results[0];
  int64_t *out = PRN_ARENA_ARRAY(env->scratch, int64_t, l->length);
  for (int64_t p = 0; p < l->length; p++) {
    int64_t at = p;
    out[p] = -1;
    for (int32_t i = a.last; i >= a.first; i--) {
      prn_space *x = prn_coupling_space(c, v, i);
      int64_t n = prn_axis_view_of(v->type, i).length;
      int64_t here = x ? prn_space_index(x, g->atom, at % n) : -1;
      if (here != -1) out[p] = out[p] == -1 ? here : -2;
      at /= n;
    }
  }
  return out;
}

/* Whether the group has members in the target's line. A line over a part of an
 * axis (a is NULL) cannot be followed. */
static bool reads_along(const prn_group *g, const prn_target *t,
                        const prn_line *l, const axes *a) {
  for (size_t i = 0; i < g->num_members; i++) {
    const prn_member *m = &g->members[i];
    if (m->constant != t->site->constant) continue;
    if (a ? m->axis >= a->first && m->axis <= a->last
          : overlaps(m->constant->results[0].type, m->axis, l))
      return true;
  }
  return false;
}

/* The index that m neighbours begin with, where they are ones of the group; -1
 * elsewhere. */
static int64_t first_of(const int64_t *index, int64_t m) {
  for (int64_t i = 0; i < m; i++)
    if (index[i] < 0 || index[i] != index[0] + i) return -1;
  return index[0];
}

void prn_reader_phases(const prn_reader *r, int64_t *rows) {
  for (int64_t p = 0; p + r->m <= r->line.length; p += r->m) {
    int64_t first = first_of(r->index + p, r->m);
    if (first >= 0) rows[first % r->m] += r->line.outer * r->line.inner;
  }
}

/* -1 when no slot begins at place p. */
static int64_t slot_at(const prn_reader *r, int64_t phase, int64_t p) {
  int64_t first = first_of(r->index + p, r->m);
  bool here = first >= phase && (first - phase) % r->m == 0;
  return here ? (first - phase) / r->m : -1;
}

/* Each slot is taken as often as the rarest. */
void prn_reader_slots(prn_pass_env *env, prn_reader *r, int64_t size,
                      int64_t phase) {
  int64_t most = r->line.length / r->m * r->m, m = r->m;
  int64_t slots = r->slots = size > phase ? (size - phase) / m : 0, s;
  int64_t *times = PRN_ARENA_ARRAY(env->scratch, int64_t, slots + 1);
  for (int64_t p = 0; p < most; p += m)
    if ((s = slot_at(r, phase, p)) >= 0) times[s]++;
  r->times = slots ? times[0] : 0;
  for (s = 1; s < slots; s++)
    if (times[s] < r->times) r->times = times[s];
  r->at = PRN_ARENA_ARRAY(env->scratch, int64_t, r->times * slots + 1);
  r->rows = r->times * r->line.outer * r->line.inner;
  memset(times, 0, (size_t)slots * sizeof *times);
  for (int64_t p = 0; p < most; p += m)
    if ((s = slot_at(r, phase, p)) >= 0 && times[s] < r->times)
      r->at[times[s]++ * slots + s] = p;
}

bool prn_reader_find(prn_pass_env *env, const prn_group *g, const prn_target *t,
                     int64_t m, prn_reader *out, bool *along) {
  int32_t in = 0;
  axes a;
  *out = (prn_reader){.target = t, .m = m};
  *along = false;
  if (!prn_axis_with(t->site, PRN_ROLE_IN, &in) ||
      !prn_line_of(t->site, in, in, &out->line) || out->line.length < m)
    return true; /* select-nm leaves it alone, too */
  bool found = axes_of(t->score.tensor->type, &out->line, &a);
  *along = reads_along(g, t, &out->line, found ? &a : NULL);
  if (!*along || !found) return found || !*along;
  out->first = a.first;
  out->last = a.last;
  out->index = indices_of(env, g, t, &out->line, a);
  return true;
}

const int64_t *prn_reader_sources(const prn_reader *r, const prn_removal *by) {
  const prn_value *v = &r->target->site->constant->results[0];
  int64_t n = r->line.length, scale = 1;
  int64_t *out = PRN_ARENA_ARRAY(by->env->scratch, int64_t, n);
  for (int32_t i = r->last; i >= r->first; i--) {
    int64_t size = prn_axis_view_of(v->type, i).length;
    const int64_t *from = prn_removal_sources(by, v, i);
    for (int64_t p = 0; p < n; p++) {
      int64_t at = p / scale % size;
      out[p] += scale * (from ? from[at] : at);
    }
    scale *= size;
  }
  return out;
}

/* ---- rows ---- */

/* Rows that lie side by side: score p * width + i is that of place p. */
typedef struct tile {
  const float *scores;
  int64_t width;
  int64_t number; /* of the first row, among those of the first time */
} tile;

static prn_status read_tile(const prn_reader *r, int64_t at, int64_t n,
                            float *out) {
  const prn_score *s = &r->target->score;
  const void *mask = s->tensor->mask ? s->tensor->mask->data : NULL;
  for (int64_t i = 0, k; i < n; i += k) {
    k = n - i < PRN_KEY_CHUNK ? n - i : PRN_KEY_CHUNK;
    PRN_TRY(prn_score_read(s, at + i, k, out + i));
    for (int64_t j = 0; mask && j < k; j++)
      if (!prn_mask_keeps(mask, at + i + j)) out[i + j] = 0;
  }
  return PRN_OK;
}

enum { TILE = 1 << 20, NARROW = 256 };

/* Calls f for tiles of all rows. */
static prn_status each_tile(const prn_reader *r,
                            void (*f)(void *user, const tile *t), void *user) {
  const prn_line *l = &r->line;
  int64_t width = l->inner;
  if (width > NARROW && width * l->length > TILE)
    width = TILE / l->length > NARROW ? TILE / l->length : NARROW;
  float *buf =
      prn_try_alloc(prn_array_size((size_t)(width * l->length), sizeof *buf));
  if (!buf)
    return prn_op_error(r->target->site->constant, "no memory for its scores");
  prn_status status = PRN_OK;
  for (int64_t o = 0; o < l->outer && status == PRN_OK; o++)
    for (int64_t x = 0; x < l->inner && status == PRN_OK; x += width) {
      int64_t w = l->inner - x < width ? l->inner - x : width;
      int64_t base = o * l->length * l->inner + x;
      if (w == l->inner) status = read_tile(r, base, w * l->length, buf);
      for (int64_t p = 0; w < l->inner && p < l->length && status == PRN_OK;
           p++)
        status = read_tile(r, base + p * l->inner, w, buf + p * w);
      tile t = {buf, w, o * l->inner + x};
      if (status == PRN_OK) f(user, &t);
    }
  prn_free(buf);
  return status;
}

/* ---- what the search sees ---- */

typedef struct copying {
  const prn_reader *r;
  prn_row_share share;
  float *scores;
} copying;

/* Row number i is the share's row i * keep / of, where that is a new one. */
static int64_t row_of(const prn_row_share *s, int64_t i) {
  double scale = (double)s->keep / (double)s->of;
  int64_t row = (int64_t)floor((double)(s->before + i) * scale);
  int64_t next = (int64_t)floor((double)(s->before + i + 1) * scale);
  return row < next ? row : -1;
}

static void copy_tile(void *user, const tile *t) {
  const copying *c = user;
  const prn_reader *r = c->r;
  for (int64_t q = 0; q < r->times; q++)
    for (int64_t i = 0; i < t->width; i++) {
      int64_t number = q * r->line.outer * r->line.inner + t->number + i;
      int64_t row = row_of(&c->share, number);
      if (row < 0 || row >= c->share.keep) continue;
      for (int64_t s = 0; s < r->slots; s++)
        for (int64_t k = 0; k < r->m; k++)
          c->scores[(s * r->m + k) * c->share.keep + row] =
              t->scores[(r->at[q * r->slots + s] + k) * t->width + i];
    }
}

prn_status prn_reader_rows(const prn_reader *r, prn_row_share share,
                           float *scores) {
  copying c = {r, share, scores};
  return each_tile(r, copy_tile, &c);
}

/* ---- what is kept ---- */

typedef struct counting {
  const prn_reader *r;
  int64_t n;
  const int64_t *from; /* places of the line, in an order */
  double kept, all;
} counting;

/* Adds v to the n largest, the largest first, of which there are `have`. */
static void add_to_top(float *top, int64_t n, int64_t have, float v) {
  int64_t i = have < n ? have : n;
  for (; i > 0 && top[i - 1] < v; i--)
    if (i < n) top[i] = top[i - 1];
  if (i < n) top[i] = v;
}

/* What lies behind the last whole set of neighbours stays. */
static void count_tile(void *user, const tile *t) {
  counting *c = user;
  int64_t m = c->r->m, length = c->r->line.length;
  float top[PRN_READER_MOST];
  for (int64_t p = 0; p < length; p += m)
    for (int64_t i = 0; i < t->width; i++) {
      int64_t size = length - p < m ? length - p : m;
      int64_t keeps = size < m ? size : c->n;
      for (int64_t k = 0; k < size; k++) {
        float v = t->scores[c->from[p + k] * t->width + i];
        add_to_top(top, keeps, k, v);
        c->all += (double)v;
      }
      for (int64_t k = 0; k < keeps; k++)
        c->kept += (double)top[k];
    }
}

prn_status prn_reader_kept(const prn_reader *r, int64_t n, const int64_t *from,
                           double *kept, double *all) {
  counting c = {r, n, from, 0, 0};
  PRN_TRY(each_tile(r, count_tile, &c));
  *kept += c.kept;
  *all += c.all;
  return PRN_OK;
}
