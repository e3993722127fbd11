/* The blob of weights: everything that a kernel trusts is checked before a
 * byte of it goes to the device. */
#include <string.h>

#include "prune_cuda_impl.h"

#define P1 UINT64_C(0x9E3779B185EBCA87)
#define P2 UINT64_C(0xC2B2AE3D27D4EB4F)
#define P3 UINT64_C(0x165667B19E3779F9)
#define P4 UINT64_C(0x85EBCA77C2B2AE63)
#define P5 UINT64_C(0x27D4EB2F165667C5)

static uint64_t rotate(uint64_t v, int n) { return v << n | v >> (64 - n); }

static uint32_t get32(const unsigned char *p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

static uint64_t get64(const unsigned char *p) {
  uint64_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

static uint64_t mix(uint64_t lane, uint64_t v) {
  return rotate(lane + v * P2, 31) * P1;
}

/* After the specification of xxHash. Devices' hosts are little endian. */
uint64_t pcu_xxh64(const void *data, size_t size, uint64_t seed) {
  const unsigned char *p = data, *end = p + size;
  uint64_t h = seed + P5;
  if (size >= 32) {
    uint64_t a[4] = {seed + P1 + P2, seed + P2, seed, seed - P1};
    for (; end - p >= 32; p += 32)
      for (int i = 0; i < 4; i++)
        a[i] = mix(a[i], get64(p + 8 * i));
    h = rotate(a[0], 1) + rotate(a[1], 7) + rotate(a[2], 12) + rotate(a[3], 18);
    for (int i = 0; i < 4; i++)
      h = (h ^ mix(0, a[i])) * P1 + P4;
  }
  h += size;
  for (; end - p >= 8; p += 8)
    h = rotate(h ^ mix(0, get64(p)), 27) * P1 + P4;
  for (; end - p >= 4; p += 4)
    h = rotate(h ^ get32(p) * P1, 23) * P2 + P3;
  for (; p < end; p++)
    h = rotate(h ^ *p * P5, 11) * P1;
  h = (h ^ h >> 33) * P2;
  h = (h ^ h >> 29) * P3;
  return h ^ h >> 32;
}

size_t pcu_type_size(int32_t type) {
  static const unsigned char sizes[] = {
      [1] = 4,  [2] = 1,  [3] = 1,  [4] = 2,  [5] = 2,  [6] = 4,
      [7] = 8,  [9] = 1,  [10] = 2, [11] = 8, [12] = 4, [13] = 8,
      [16] = 2, [17] = 1, [18] = 1, [19] = 1, [20] = 1, [21] = 1,
      [22] = 1, [23] = 1, [24] = 1, [25] = 1, [26] = 1};
  return type >= 0 && (size_t)type < sizeof sizes ? sizes[type] : 0;
}

int64_t pcu_round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* a * b, unless it is negative or reaches 2^62: then -1. */
static int64_t times(int64_t a, int64_t b) {
  if (a < 0 || b < 0) return -1;
  if (b != 0 && a > (INT64_C(1) << 62) / b) return -1;
  return a * b;
}

static bool fits(const prune_cuda_record *r) {
  const int64_t most = INT64_C(1) << 40;
  return r->k >= 0 && r->k <= most && r->n >= 0 && r->n <= most;
}

static const char *check_dense(const prune_cuda_record *r,
                               const unsigned char *data) {
  (void)data;
  int64_t bytes = times(r->n, (int64_t)pcu_type_size(r->type));
  return r->k != 0 || bytes < 0 || (uint64_t)bytes != r->size
             ? "its size is not that of its elements"
             : NULL;
}

static const char *check_nk(const prune_cuda_record *r,
                            const unsigned char *data) {
  (void)data;
  if (!fits(r)) return "its dims are too large";
  int64_t size = (int64_t)pcu_type_size(r->type);
  int64_t row = times(pcu_round_up(r->k, size == 1 ? 16 : 8), size);
  int64_t bytes = times(r->n, row);
  return bytes < 0 || (uint64_t)bytes != r->size
             ? "its size is not that of its rows"
             : NULL;
}

/* A nibble is two places of four in ascending order: i0 | i1 << 2. */
static bool ascending(unsigned nibble) {
  return (nibble & 3) < (nibble >> 2 & 3);
}

static const char *check_nm24(const prune_cuda_record *r,
                              const unsigned char *data) {
  if (!fits(r)) return "its dims are too large";
  int64_t size = (int64_t)pcu_type_size(r->type);
  int64_t deep = pcu_round_up(r->k, size == 1 ? 128 : 64);
  int64_t elements = times(pcu_round_up(r->n, 16), deep);
  int64_t values = elements < 0 ? -1 : times(elements / 2, size);
  if (values < 0 || (uint64_t)values + (uint64_t)elements / 8 != r->size)
    return "its size is not that of 2:4";
  const unsigned char *places = data + values;
  for (int64_t i = 0; i < elements / 8; i++)
    if (!ascending(places[i] & 15u) || !ascending(places[i] >> 4))
      return "its places of non-zeros are not two of four";
  return NULL;
}

static unsigned ones(uint32_t v) {
  v -= v >> 1 & 0x55555555;
  v = (v & 0x33333333) + (v >> 2 & 0x33333333);
  return ((v + (v >> 4)) & 0x0f0f0f0f) * 0x01010101u >> 24;
}

/* Tiles begin where the one before ends, in units of 8 values, and have as many
 * values as their masks have bits. */
static const char *check_bitmap(const prune_cuda_record *r,
                                const unsigned char *data) {
  if (!fits(r)) return "its dims are too large";
  int64_t tiles = times((r->n + 15) / 16, (r->k + 63) / 64);
  if (tiles < 0 || tiles > INT64_C(1) << 40) return "its dims are too large";
  uint64_t masks = (uint64_t)pcu_round_up((tiles + 1) * 4, 128);
  uint64_t values = masks + (uint64_t)tiles * 128;
  if (values > r->size) return "it is too small for its tiles";
  uint32_t at = get32(data);
  if (at != 0) return "its first tile does not begin at 0";
  for (int64_t t = 0; t < tiles; t++) {
    unsigned n = 0;
    for (int w = 0; w < 32; w++)
      n += ones(get32(data + masks + 128 * t + 4 * w));
    uint32_t next = get32(data + 4 * (t + 1));
    if (next < at || next - at != (n + 7) / 8)
      return "a tile has not as many values as its mask has bits";
    at = next;
  }
  return r->size - values != (uint64_t)at * 8 * pcu_type_size(r->type)
             ? "its size is not that of its values"
             : NULL;
}

/* Where the indices of blocks begin, and where their values do. */
static uint64_t indices_at(int64_t rows) {
  return (uint64_t)pcu_round_up((rows + 1) * 4, 128);
}
static uint64_t values_at(int64_t rows, uint32_t blocks) {
  return indices_at(rows) + (uint64_t)pcu_round_up((int64_t)blocks * 4, 128);
}

/* Rows of blocks begin where the one before ends; two of a pair have as many,
 * no more than fit along k. */
static bool are_pairs(const unsigned char *starts, int64_t rows, int64_t deep) {
  uint32_t at = get32(starts);
  if (at != 0) return false;
  for (int64_t r = 0; r < rows; r += 2) {
    uint32_t second = get32(starts + 4 * (r + 1));
    uint32_t end = get32(starts + 4 * (r + 2));
    if (second < at || end < second || second - at != end - second ||
        second - at > deep || end > INT32_MAX)
      return false;
    at = end;
  }
  return true;
}

/* Places of a pair's blocks: those of either row. */
static bool are_places(const unsigned char *indices, uint32_t n, int64_t deep) {
  int64_t last = -1;
  for (uint32_t i = 0; i < n; i++) {
    int64_t at = get32(indices + 4 * (size_t)i);
    if (at <= last || at >= deep || at != get32(indices + 4 * ((size_t)n + i)))
      return false;
    last = at;
  }
  return true;
}

static const char *check_bsr(const prune_cuda_record *r,
                             const unsigned char *data) {
  if (!fits(r)) return "its dims are too large";
  int64_t rows = pcu_round_up(r->n, 64) / 32, deep = (r->k + 31) / 32;
  if (indices_at(rows) > r->size) return "it is too small for its rows";
  if (!are_pairs(data, rows, deep))
    return "its rows of blocks are no pairs one after the other";
  uint32_t blocks = get32(data + 4 * rows);
  uint64_t bytes = (uint64_t)blocks * 1024 * pcu_type_size(r->type);
  if (values_at(rows, blocks) + bytes != r->size)
    return "its size is not that of its blocks";
  for (int64_t i = 0; i < rows; i += 2) {
    uint32_t first = get32(data + 4 * i), next = get32(data + 4 * (i + 1));
    if (!are_places(data + indices_at(rows) + 4 * (size_t)first, next - first,
                    deep))
      return "the places of its blocks do not ascend, or are outside";
  }
  return NULL;
}

static const char *check_content(const prune_cuda_record *r,
                                 const unsigned char *data) {
  static const char *(*const checks[])(const prune_cuda_record *,
                                       const unsigned char *) = {
      [PRUNE_CUDA_DENSE] = check_dense,
      [PRUNE_CUDA_NK] = check_nk,
      [PRUNE_CUDA_NM24] = check_nm24,
      [PRUNE_CUDA_BITMAP] = check_bitmap,
      [PRUNE_CUDA_BSR] = check_bsr};
  if (pcu_type_size(r->type) == 0) return "its type is unknown";
  if (r->kind < 0 || (size_t)r->kind >= sizeof checks / sizeof *checks)
    return "its kind is unknown";
  return checks[r->kind](r, data);
}

static const char *check_head(const prune_cuda_model *m, const void *blob,
                              size_t size, prune_cuda_blob *head) {
  if (size < sizeof *head) return "is cut off";
  memcpy(head, blob, sizeof *head);
  if (memcmp(head->magic, PRUNE_CUDA_BLOB_MAGIC, sizeof head->magic) != 0)
    return "is no file of weights";
  if (head->version != PRUNE_CUDA_BLOB_VERSION) return "has another version";
  if (head->num_records != m->num_records ||
      head->data_size != m->weights_size || head->hash != m->weights_hash)
    return "belongs to another model";
  uint64_t records = sizeof *head + (uint64_t)head->num_records *
                                        sizeof(prune_cuda_blob_record);
  uint64_t align = PRUNE_CUDA_BLOB_ALIGN;
  if (head->data_offset != (records + align - 1) / align * align)
    return "has its data in a wrong place";
  if (head->data_offset > size || size - head->data_offset != head->data_size)
    return "is cut off, or too long";
  return NULL;
}

static const char *check_record(const prune_cuda_model *m, uint32_t i,
                                const unsigned char *records,
                                const unsigned char *data) {
  const prune_cuda_record *want = &m->records[i];
  prune_cuda_blob_record r;
  memcpy(&r, records + i * sizeof r, sizeof r);
  if (r.name != pcu_xxh64(want->name, strlen(want->name), 0))
    return "has another name";
  if (r.kind != want->kind || r.type != want->type || r.k != want->k ||
      r.n != want->n)
    return "is of another kind, type or size";
  if (r.offset != want->offset || r.size != want->size)
    return "is in another place";
  if (r.offset % PRUNE_CUDA_BLOB_ALIGN != 0 || r.offset > m->weights_size ||
      r.size > m->weights_size - r.offset)
    return "is not inside the data";
  return check_content(want, data + r.offset);
}

prune_cuda_status pcu_check_blob(const prune_cuda_model *m,
                                 const prune_cuda_options *o, const void *blob,
                                 size_t size, const unsigned char **out_data) {
  prune_cuda_blob head = {0};
  const char *wrong = check_head(m, blob, size, &head);
  const unsigned char *bytes = blob;
  if (!wrong &&
      pcu_xxh64(bytes + head.data_offset, head.data_size, 0) != m->weights_hash)
    wrong = "is damaged: the hash of its data differs";
  if (wrong) {
    pcu_log(o, 0, "%s: the blob %s", m->name, wrong);
    return PRUNE_CUDA_E_WEIGHTS;
  }
  *out_data = bytes + head.data_offset;
  for (uint32_t i = 0; i < m->num_records; i++) {
    wrong = check_record(m, i, bytes + sizeof head, *out_data);
    if (!wrong) continue;
    pcu_log(o, 0, "%s: record %u of the blob ('%s') %s", m->name, (unsigned)i,
            m->records[i].name, wrong);
    return PRUNE_CUDA_E_WEIGHTS;
  }
  return PRUNE_CUDA_OK;
}
