/* The most fused multiply-adds of floats a core does: what products are
 * compared with. Built by cpu.py with the flags of this machine. */
enum { CHAINS = 16, LANES = 16 };

typedef float vec __attribute__((vector_size(4 * LANES)));

/* Does 2 * LANES * CHAINS * steps operations; the result keeps them alive. */
float prn_bench_peak(long steps);

float prn_bench_peak(long steps) {
  vec sum[CHAINS], total = {0};
  const vec a = total + 1.0000001f, b = total + 1e-9f;
  for (int i = 0; i < CHAINS; i++)
    sum[i] = total + (float)i;
  for (long s = 0; s < steps; s++)
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++)
      sum[i] = sum[i] * a + b;
  for (int i = 0; i < CHAINS; i++)
    total += sum[i];
  return total[0];
}
