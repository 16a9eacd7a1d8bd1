/* Modified Gram-Schmidt for one number type and n matrices at once: entry (s, i) of all matrices is contiguous, and one
 * operation serves all; _steps.c includes this file. The twin is in gradlab/jacobians/lyapunov.py.
 *
 * A row is K pieces of n numbers. Indices: columns i and k, rows s, matrices j.
 */

/* The power of two below the largest entry; entries divided by it have squares in range. */
static inline void NAME(units)(npy_intp rows, npy_intp n, const REAL *a, REAL *unit)
{
    EACH { unit[j] = 0; }
    for (npy_intp s = 0; s < rows; s++, a += n)
        EACH { unit[j] = ABS(a[j]) > unit[j] ? ABS(a[j]) : unit[j]; }
    EACH
    {
        BITS bits;
        memcpy(&bits, &unit[j], sizeof bits);
        bits &= (BITS)(2 * BIAS + 1) << MANTISSA; /* the exponent alone */
        memcpy(&unit[j], &bits, sizeof bits);
    }
}

/* In one row, subtract from the columns behind k their part along column k. */
static inline void NAME(take_off)(npy_intp K, npy_intp n, npy_intp k, REAL *RESTRICT row, const REAL *RESTRICT part)
{
    for (npy_intp i = k + 1; i < K; i++)
        EACH { row[i * n + j] -= part[i * n + j] * row[k * n + j]; }
}

/* In one row, add the products of column k with itself and the columns behind it. */
static inline void NAME(add_up)(npy_intp K, npy_intp n, npy_intp k, const REAL *RESTRICT row, REAL *RESTRICT sum)
{
    for (npy_intp i = k; i < K; i++)
        EACH { sum[i * n + j] += row[k * n + j] * row[i * n + j]; }
}

/* a (S, K, n) → q (S, K, n), r (K, n), lost (n); work holds (3K + 2) n numbers. */
static inline void NAME(orthogonalise)(npy_intp S, npy_intp K, npy_intp n, void **x, REAL *work)
{
    const REAL *a = x[0];
    REAL *q = x[1], *r = x[2], *lost = x[3];
    REAL *sum = work, *part = sum + K * n, *square = part + K * n, *unit = square + K * n, *scale = unit + n;
    NAME(units)(S * K, n, a, unit);
    EACH { scale[j] = 1 / unit[j], lost[j] = 0; }
    memset(sum, 0, 3 * K * n * sizeof(REAL));
    for (npy_intp s = 0; s < S; s++) {
        for (npy_intp i = s * K; i < (s + 1) * K; i++)
            EACH { q[i * n + j] = scale[j] * a[i * n + j]; }
        NAME(add_up)(K, n, 0, q + s * K * n, sum);
    }
    for (npy_intp k = 0; k < K; k++) {
        for (npy_intp i = k; i < K; i++)
            EACH
            {
                part[i * n + j] = sum[i * n + j] / sum[k * n + j];
                square[i * n + j] += sum[i * n + j] * part[i * n + j];
            }
        EACH
        {
            const REAL norm = SQRT(sum[k * n + j]);
            lost[j] += square[k * n + j] / sum[k * n + j];
            r[k * n + j] = norm * unit[j];
            scale[j] = 1 / norm;
        }
        memset(sum, 0, K * n * sizeof(REAL));
        for (REAL *row = q; row < q + S * K * n; row += K * n) {
            NAME(take_off)(K, n, k, row, part);
            NAME(add_up)(K, n, k + 1, row, sum);
            EACH { row[k * n + j] *= scale[j]; }
        }
    }
}

WIDE static void NAME(decompose)(npy_intp S, npy_intp K, npy_intp n, void **x, REAL *work)
{
    if (n == 1) NAME(orthogonalise)(S, K, 1, x, work); /* a constant n lets the compiler merge columns */
    else NAME(orthogonalise)(S, K, n, x, work);
}

/* (s,k,n)->(s,k,n),(k,n),(n), for contiguous arrays */
static void NAME(gram_schmidt)(char **args, const npy_intp *dimensions, const npy_intp *strides, void *data)
{
    const npy_intp *sizes = dimensions + 1, *core = strides + 4, K = sizes[1], n = sizes[2], size = sizeof(REAL);
    const int dense = packed(3, sizes, core, size) && packed(3, sizes, core + 3, size) &&
                      packed(2, sizes + 1, core + 6, size) && packed(1, sizes + 2, core + 8, size);
    REAL *work = dense ? PyMem_RawMalloc((3 * K + 2) * n * size) : NULL;
    if (work == NULL) {
        NPY_ALLOW_C_API_DEF
        NPY_ALLOW_C_API
        if (dense) PyErr_NoMemory();
        else PyErr_SetString(PyExc_ValueError, "gram_schmidt: expected arrays without gaps");
        NPY_DISABLE_C_API
        return;
    }
    for (npy_intp t = 0; t < dimensions[0]; t++) {
        void *x[4];
        for (int i = 0; i < 4; i++) x[i] = args[i] + t * strides[i];
        NAME(decompose)(sizes[0], K, n, x, work);
    }
    PyMem_RawFree(work);
    calm();
    (void)data;
}
