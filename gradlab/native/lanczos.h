/* The largest singular value of a dense matrix by Lanczos on AᵀA, while the matrix is in the cache; _steps.c includes
 * this. gradlab/jacobians/lanczos.py has the same steps in NumPy, for many matrices at once, and the reasons.
 *
 * Rows and vectors are whole pieces of PIECE numbers; the number of rows is a multiple of ROWS. Padding is zero.
 */
enum { PIECE = 8, ROWS = 4, LOOK = 4, MOST = 2, MOST_LAGUERRE = 40 };
#define RESIDUAL 1e-10
#define FAR 1e-7
#define ENDED 1e-13
/* Bound of θ and 1/θ: Laguerre's steps square both. */
#define LARGE 1e140
/* Inlined into each version that WIDE makes. */
#define INLINE static inline __attribute__((always_inline))

typedef double Piece __attribute__((vector_size(PIECE * sizeof(double)), aligned(sizeof(double)), may_alias));

INLINE double sum(const Piece *one)
{
    double all = 0;
    for (int i = 0; i < PIECE; i++) all += (*one)[i];
    return all;
}

INLINE double inner(npy_intp P, const Piece *a, const Piece *b)
{
    Piece sums = {0};
    for (npy_intp j = 0; j < P; j++) sums += a[j] * b[j];
    return sum(&sums);
}

/* AᵀA v in one pass over A, whose rows have P pieces. */
INLINE void normal_product(npy_intp S, npy_intp P, const Piece *A, const Piece *v, Piece *image)
{
    for (npy_intp j = 0; j < P; j++) image[j] = (Piece){0};
    for (npy_intp row = 0; row < S; row += ROWS, A += ROWS * P) {
        Piece sums[ROWS] = {{0}};
        double along[ROWS];
        for (npy_intp j = 0; j < P; j++)
            for (int r = 0; r < ROWS; r++) sums[r] += A[r * P + j] * v[j];
        for (int r = 0; r < ROWS; r++) along[r] = sum(&sums[r]);
        for (npy_intp j = 0; j < P; j++) {
            Piece all = image[j];
            for (int r = 0; r < ROWS; r++) all += along[r] * A[r * P + j];
            image[j] = all;
        }
    }
}

/* Eliminate at − T from the last row up. Returns whether all pivots are positive, the first derivative and the negative
 * second derivative of ln|det|, and the last entry of the eigenvector. */
INLINE int pivots(int m, const double *diagonal, const double *beside, double at, double *first, double *second,
                  double *last)
{
    double rise = 1 / (at - diagonal[m - 1]), inverse = rise, bend = 0, slope = 1;
    int positive = at > diagonal[m - 1];
    *first = rise, *second = rise * rise, *last = 1;
    for (int k = m - 2; k >= 0; k--) {
        const double ratio = beside[k] * inverse, taken = beside[k] * ratio, pivot = at - diagonal[k] - taken;
        *last *= fabs(ratio);
        inverse = 1 / pivot;
        bend = taken * (bend - 2 * rise * rise) * inverse;
        slope = 1 + taken * rise;
        rise = slope * inverse;
        *first += rise;
        *second += rise * rise - bend;
        positive &= pivot > 0;
    }
    *last /= sqrt(slope);
    return positive;
}

/* The largest eigenvalue of a tridiagonal matrix, expected below ``above``; the last entry of its unit eigenvector; and
 * whether both have converged. The search stops early where rest × last is far above the allowed residual. */
INLINE int top_of_tridiagonal(int m, const double *diagonal, const double *beside, double rest, double above,
                              double *value, double *last)
{
    double bound = -INFINITY, first, second;
    for (int k = 0; k < m; k++) {
        const double reach = diagonal[k] + (k < m - 1 ? beside[k] : 0) + (k ? beside[k - 1] : 0);
        if (!(reach <= bound)) bound = reach;
    }
    int thought = above < bound;
    *value = thought ? above : bound;
    for (int i = 0; i < MOST_LAGUERRE; i++) {
        if (!pivots(m, diagonal, beside, *value, &first, &second, last)) {
            if (!thought) return 1;
            *value = bound;
        } else {
            const double under = (m - 1) * (m * second - first * first);
            const double step = m / (first + sqrt(under > 0 ? under : 0));
            *value -= step;
            if (step <= 1e-14 * *value) return 1;
            if (rest * *last > FAR * *value) return 0;
        }
        thought = 0;
    }
    return 0;
}

/* σ_max of A, whose rows have P pieces; nan if it did not converge. ``vectors`` has room for two vectors, ``numbers`` for
 * the tridiagonal matrix. The start v is overwritten. */
WIDE static double largest_singular_value(npy_intp S, npy_intp P, const Piece *A, Piece *v, Piece *vectors,
                                          double *numbers)
{
    Piece *before = vectors, *image = vectors + P;
    double *diagonal = numbers, *beside = numbers + MOST * S;
    double value, last, rest = 0, above = INFINITY, highest = 0;
    for (npy_intp j = 0; j < P; j++) before[j] = (Piece){0};
    for (int m = 1; m <= MOST * S; m++) {
        normal_product(S, P, A, v, image);
        for (npy_intp j = 0; j < P; j++) image[j] -= rest * before[j];
        const double along = inner(P, v, image);
        for (npy_intp j = 0; j < P; j++) image[j] -= along * v[j];
        rest = sqrt(inner(P, image, image));
        if (!isfinite(rest)) break;
        diagonal[m - 1] = along, beside[m - 1] = rest;
        highest = fabs(along) > highest ? fabs(along) : highest;
        const int ended = rest <= ENDED * highest;
        if (ended || m % LOOK == 0) {
            const int known = top_of_tridiagonal(m, diagonal, beside, rest, above, &value, &last);
            if (!(highest < LARGE && highest > 1 / LARGE)) break;
            if (known && (ended || rest * last <= RESIDUAL * value)) return sqrt(value);
            if (ended) break;
            above = value + rest * last; /* the value after more steps is expected below this */
        }
        Piece *spare = before;
        before = v, v = image, image = spare;
        for (npy_intp j = 0; j < P; j++) v[j] *= 1 / rest;
    }
    return NAN;
}

/* (s,s),(s)->(): matrices, start vector → σ_max */
static void largest_of_each(char **args, const npy_intp *dimensions, const npy_intp *strides, void *data)
{
    const npy_intp S = dimensions[1], P = (S + PIECE - 1) / PIECE, rows = (S + ROWS - 1) / ROWS * ROWS;
    double *room = calloc(PIECE + (rows + 3) * P * PIECE + 2 * MOST * S, sizeof(double));
    double *A = (double *)(((uintptr_t)room + sizeof(Piece) - 1) / sizeof(Piece) * sizeof(Piece));
    double *start = A + rows * P * PIECE, *vectors = start + P * PIECE, *numbers = vectors + 2 * P * PIECE;
    for (npy_intp n = 0; n < dimensions[0]; n++) {
        const char *matrix = args[0] + n * strides[0], *vector = args[1] + n * strides[1];
        double *answer = (double *)(args[2] + n * strides[2]);
        *answer = NAN;
        if (room == NULL) continue;
        memset(start, 0, P * sizeof(Piece));
        for (npy_intp i = 0; i < S; i++, matrix += strides[3]) {
            double *row = A + i * P * PIECE;
            start[i] = *(const double *)(vector + i * strides[5]);
            if (strides[4] == sizeof(double)) memcpy(row, matrix, S * sizeof(double));
            else for (npy_intp j = 0; j < S; j++) row[j] = *(const double *)(matrix + j * strides[4]);
        }
        *answer = largest_singular_value(S, P, (Piece *)A, (Piece *)start, (Piece *)vectors, numbers);
    }
    free(room);
    calm();
    (void)data;
}
