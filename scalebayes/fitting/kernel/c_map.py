"""C functions that sample a library's density in other coordinates (`scalebayes.fitting.maps`)."""

MAPPED = """
typedef struct {
const int64_t *data; const double *centre, *matrix, *skews, *directions, *bends;
int64_t curved, bent;
} coordinates;
/* Return y = centre + matrix v + bends f. The first v_k are x_k + skew_k sqrt(1 + x_k^2), and the \
others x_k. f_k = sqrt(1 + s_k^2) and f_(k + bent) = s_k / f_k of s = directions v. */
static void map(int64_t n, const double *restrict x, const coordinates *m, double *restrict v, \
double *restrict f, double *restrict y) {
for (int64_t i = 0; i < n; i++) v[i] = x[i];
for (int64_t i = 0; i < m->curved; i++) v[i] += m->skews[i] * sqrt(1.0 + x[i] * x[i]);
for (int64_t k = 0; k < m->bent; k++) {
double s = 0.0;
for (int64_t j = 0; j < m->curved; j++) s += m->directions[k * m->curved + j] * v[j];
f[k] = sqrt(1.0 + s * s);
f[k + m->bent] = s / f[k];
}
for (int64_t i = 0; i < n; i++) {
const double *const restrict row = m->matrix + i * n;
const double *const restrict bend = m->bends + i * 2 * m->bent;
double sum = m->centre[i];
#pragma omp simd reduction(+:sum)
for (int64_t j = 0; j < n; j++) sum += row[j] * v[j];
for (int64_t k = 0; k < 2 * m->bent; k++) sum += bend[k] * f[k];
y[i] = sum;
}
}
int64_t mapped_log_density(uint64_t n, const double *x, double *restrict gradient, \
double *restrict value, const coordinates *m) {
const int64_t size = n, bent = m->bent;
double *const scratch = malloc(sizeof(double) * (3 * size + 4 * bent));
if (!scratch) return -3;
double *const restrict v = scratch, *const restrict y = v + size;
double *const restrict slopes = y + size, *const restrict f = slopes + size;
double *const restrict by_f = f + 2 * bent;
map(size, x, m, v, f, y);
const int64_t code = log_density(n, y, slopes, value, m->data);
for (int64_t j = 0; j < size; j++) gradient[j] = 0.0;
for (int64_t k = 0; k < 2 * bent; k++) by_f[k] = 0.0;
for (int64_t i = 0; i < size; i++) {
const double *const restrict row = m->matrix + i * size;
const double *const restrict bend = m->bends + i * 2 * bent;
for (int64_t j = 0; j < size; j++) gradient[j] += row[j] * slopes[i];
for (int64_t k = 0; k < 2 * bent; k++) by_f[k] += bend[k] * slopes[i];
}
for (int64_t k = 0; k < bent; k++) {
const double by_s = by_f[k] * f[k + bent] + by_f[k + bent] / (f[k] * f[k] * f[k]);
for (int64_t j = 0; j < m->curved; j++) gradient[j] += by_s * m->directions[k * m->curved + j];
}
for (int64_t i = 0; i < m->curved; i++) {
const double root = sqrt(1.0 + x[i] * x[i]);
const double slope = 1.0 + m->skews[i] * x[i] / root;
*value += log(slope);
gradient[i] = gradient[i] * slope + m->skews[i] / (root * root * root * slope);
}
free(scratch);
return code;
}
int64_t mapped_expand(uint64_t n, uint64_t kept, const double *x, double *restrict out, \
const coordinates *m) {
double *const scratch = malloc(sizeof(double) * (2 * n + 2 * m->bent));
if (!scratch) return -3;
map(n, x, m, scratch, scratch + 2 * n, scratch + n);
const int64_t code = expand(n, kept, scratch + n, out, m->data);
free(scratch);
return code;
}
"""
"""The functions of a library in the coordinates x of a map; y are the library's own.

Their last argument is the map, and holds the data that the library's functions take. The density
of x lacks the constant part of the map's Jacobian. A backslash continues a line of C.
"""
