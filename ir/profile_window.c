/* Windows of observations; see ir/profile.h. */
#include "ir/profile.h"

enum { MAX_NUMBER = INT32_MAX };

int64_t prn_window_places(const prn_profile_window *w) {
  int64_t n = 1;
  for (int32_t i = 0; i < w->axes; i++)
    n *= w->kernel[i];
  return n;
}

static bool in_range(int64_t v, int64_t low) {
  return v >= low && v <= MAX_NUMBER;
}

bool prn_window_valid(const prn_profile_window *w) {
  int64_t places = 1;
  if (w->axes < 0 || w->axes > PRN_WINDOW_AXES) return false;
  if (w->axes == 0) return w->same == 0;
  if (w->same < 0 || w->same > PRN_WINDOW_SAME_LOWER || !in_range(w->groups, 1))
    return false;
  for (int32_t i = 0; i < PRN_WINDOW_AXES; i++) {
    int64_t low = i < w->axes ? 1 : 0, high = i < w->axes ? MAX_NUMBER : 0;
    if (!in_range(w->kernel[i], low) || w->kernel[i] > high ||
        !in_range(w->strides[i], low) || w->strides[i] > high ||
        !in_range(w->dilations[i], low) || w->dilations[i] > high)
      return false;
    if (i < w->axes && !prn_mul_i64(places, w->kernel[i], &places))
      return false;
  }
  for (int32_t i = 0; i < 2 * PRN_WINDOW_AXES; i++) {
    bool none = i >= 2 * w->axes || w->same;
    if (!in_range(w->pads[i], 0) || (none && w->pads[i])) return false;
  }
  return places <= MAX_NUMBER;
}

static void list(prn_strbuf *b, const char *name, const int64_t *v, int32_t n,
                 int64_t usual) {
  bool plain = true;
  for (int32_t i = 0; i < n; i++)
    plain = plain && v[i] == usual;
  if (plain) return;
  prn_strbuf_fmt(b, " %s ", name);
  for (int32_t i = 0; i < n; i++)
    prn_strbuf_fmt(b, "%s%lld", i ? "," : "", (long long)v[i]);
}

void prn_window_print(const prn_profile_window *w, prn_strbuf *b) {
  static const char *const same[] = {"", " same upper", " same lower"};
  if (w->axes == 0) return;
  for (int32_t i = 0; i < w->axes; i++)
    prn_strbuf_fmt(b, "%s%lld", i ? "x" : "", (long long)w->kernel[i]);
  list(b, "stride", w->strides, w->axes, 1);
  list(b, "dilation", w->dilations, w->axes, 1);
  list(b, "pads", w->pads, 2 * w->axes, 0);
  prn_strbuf_cstr(b, same[w->same]);
  if (w->groups > 1) prn_strbuf_fmt(b, " groups %lld", (long long)w->groups);
}
