/* The formulas of a step, element by element, for one number type; _steps.c includes this file.
 *
 * x[0], x[1], … are the blocks of the operands, in order. Names are those of the cells' docstrings.
 */

/* e^x for x ≤ 0, and e^x − 1 without cancellation: x = k ln 2 + r, a Taylor series for r, 2^k put together from bits.
 * Below LOWEST, where the numbers begin to lose digits, e^x is 0. */
static inline REAL NAME(decay)(REAL x, REAL *less_one)
{
    const REAL cut = x < (REAL)LOWEST ? (REAL)LOWEST : x;
    const REAL shifted = cut * (REAL)1.4426950408889634 + (REAL)TO_INTEGER, k = shifted - (REAL)TO_INTEGER;
    const REAL r = (cut - k * (REAL)LN2_HIGH) - k * (REAL)LN2_LOW;
    const REAL q = r + r * r * ((REAL)0.5 + TAYLOR(r)); /* e^r − 1 */
    REAL power;
    BITS bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + BIAS) << MANTISSA;
    memcpy(&power, &bits, sizeof power);
    *less_one = power * q + (power - 1);
    return x < (REAL)LOWEST ? 0 : power * q + power;
}

/* σ(a) and 1 − σ(a) to full relative precision: 1/(1 + e) and e/(1 + e) with e = e^{−|a|}, ordered by a's sign. */
static inline REAL NAME(logistic)(REAL a, REAL *rest)
{
    REAL less_one;
    const REAL e = NAME(decay)(-ABS(a), &less_one), share = 1 / (1 + e), other = e * share;
    *rest = a >= 0 ? other : share;
    return a >= 0 ? share : other;
}

/* tanh(a) = (1 − e)/(1 + e) and sech²(a) = 4e/(1 + e)² to full relative precision, with e = e^{−2|a|}. */
static inline REAL NAME(tangent)(REAL a, REAL *slope)
{
    REAL less_one;
    const REAL e = NAME(decay)(-2 * ABS(a), &less_one), share = 1 / (2 + less_one);
    *slope = 4 * e * share * share;
    return COPYSIGN(less_one * share, a);
}

/* a, tanh(a) (unused here) → sech²(a) */
WIDE static void NAME(tanh_derivative)(npy_intp n, void **x)
{
    const REAL *a = x[0];
    REAL *slope = x[2];
    EACH { NAME(tangent)(a[j], &slope[j]); }
}

/* W h, drive → a, h */
WIDE static void NAME(rnn_tanh_step)(npy_intp n, void **x)
{
    const REAL *pushed = x[0], *drive = x[1];
    REAL *a = x[2], *h = x[3];
    EACH
    {
        REAL unused;
        const REAL sum = pushed[j] + drive[j];
        a[j] = sum;
        h[j] = NAME(tangent)(sum, &unused);
    }
}

/* c, W h (i f g o), drive (i f g o) → a (i f g o), gates (i f g o), c, h */
WIDE static void NAME(lstm_step)(npy_intp n, void **x)
{
    const REAL *c_before = x[0], *pushed_i = x[1], *pushed_f = x[2], *pushed_g = x[3], *pushed_o = x[4];
    const REAL *drive_i = x[5], *drive_f = x[6], *drive_g = x[7], *drive_o = x[8];
    REAL *a_i = x[9], *a_f = x[10], *a_g = x[11], *a_o = x[12], *i = x[13], *f = x[14], *g = x[15], *o = x[16];
    REAL *c = x[17], *h = x[18];
    EACH
    {
        REAL unused;
        const REAL at_i = pushed_i[j] + drive_i[j], at_f = pushed_f[j] + drive_f[j];
        const REAL at_g = pushed_g[j] + drive_g[j], at_o = pushed_o[j] + drive_o[j];
        const REAL in = NAME(logistic)(at_i, &unused), forget = NAME(logistic)(at_f, &unused);
        const REAL new = NAME(tangent)(at_g, &unused), out = NAME(logistic)(at_o, &unused);
        const REAL cell = forget * c_before[j] + in * new;
        a_i[j] = at_i, a_f[j] = at_f, a_g[j] = at_g, a_o[j] = at_o;
        i[j] = in, f[j] = forget, g[j] = new, o[j] = out;
        c[j] = cell;
        h[j] = out * NAME(tangent)(cell, &unused);
    }
}

/* c before, c, a (i f g o), gates (i f g o) → c by i, c by f, c by g, h by o, h by c */
WIDE static void NAME(lstm_local)(npy_intp n, void **x)
{
    const REAL *c_before = x[0], *c = x[1], *a_i = x[2], *a_f = x[3], *a_g = x[4], *a_o = x[5];
    const REAL *i = x[6], *f = x[7], *g = x[8], *o = x[9];
    REAL *c_by_i = x[10], *c_by_f = x[11], *c_by_g = x[12], *h_by_o = x[13], *h_by_c = x[14];
    EACH
    {
        REAL not_i, not_f, not_o, slope_g, slope_c;
        NAME(logistic)(a_i[j], &not_i);
        NAME(logistic)(a_f[j], &not_f);
        NAME(logistic)(a_o[j], &not_o);
        NAME(tangent)(a_g[j], &slope_g);
        const REAL tanh_c = NAME(tangent)(c[j], &slope_c);
        c_by_i[j] = g[j] * i[j] * not_i;
        c_by_f[j] = c_before[j] * f[j] * not_f;
        c_by_g[j] = i[j] * slope_g;
        h_by_o[j] = tanh_c * o[j] * not_o;
        h_by_c[j] = o[j] * slope_c;
    }
}

/* δ_h, δ_c, c by i, c by f, c by g, h by o, h by c, f → dL/da (i f g o), δ_c of the step before by way of f */
WIDE static void NAME(lstm_back)(npy_intp n, void **x)
{
    const REAL *dh = x[0], *dc = x[1], *c_by_i = x[2], *c_by_f = x[3], *c_by_g = x[4], *h_by_o = x[5], *h_by_c = x[6];
    const REAL *f = x[7];
    REAL *at_i = x[8], *at_f = x[9], *at_g = x[10], *at_o = x[11], *before = x[12];
    EACH
    {
        const REAL adjoint = dh[j], total = dc[j] + h_by_c[j] * adjoint;
        at_i[j] = c_by_i[j] * total;
        at_f[j] = c_by_f[j] * total;
        at_g[j] = c_by_g[j] * total;
        at_o[j] = h_by_o[j] * adjoint;
        before[j] = f[j] * total;
    }
}

/* the tangent of c, the factors, W times that of h (i f g o) → the tangents of h and c a step later */
WIDE static void NAME(lstm_jvp)(npy_intp n, void **x)
{
    const REAL *v_c = x[0], *c_by_i = x[1], *c_by_f = x[2], *c_by_g = x[3], *h_by_o = x[4], *h_by_c = x[5], *f = x[6];
    const REAL *i = x[7], *by_f = x[8], *g = x[9], *o = x[10];
    REAL *h = x[11], *c = x[12];
    EACH
    {
        const REAL cell = f[j] * v_c[j] + c_by_i[j] * i[j] + c_by_f[j] * by_f[j] + c_by_g[j] * g[j];
        c[j] = cell;
        h[j] = h_by_c[j] * cell + h_by_o[j] * o[j];
    }
}

/* the factor of r, W h (r z), drive (r z n) → a (r z), gates (r z), r times the factor */
WIDE static void NAME(gru_gates)(npy_intp n, void **x)
{
    const REAL *what = x[0], *pushed_r = x[1], *pushed_z = x[2], *drive_r = x[3], *drive_z = x[4];
    REAL *a_r = x[6], *a_z = x[7], *r = x[8], *z = x[9], *times = x[10];
    EACH
    {
        REAL unused;
        const REAL at_r = pushed_r[j] + drive_r[j], at_z = pushed_z[j] + drive_z[j];
        const REAL reset = NAME(logistic)(at_r, &unused);
        a_r[j] = at_r, a_z[j] = at_z;
        r[j] = reset;
        z[j] = NAME(logistic)(at_z, &unused);
        times[j] = reset * what[j];
    }
}

/* h, the part of a_n through r, drive (r z n), z → a_n, n, h */
static inline void NAME(gru_mix)(npy_intp n, void **x, int keeps)
{
    const REAL *before = x[0], *through_r = x[1], *drive_n = x[4], *z = x[5];
    REAL *a_n = x[6], *candidate = x[7], *h = x[8];
    EACH
    {
        REAL unused;
        const REAL at_n = through_r[j] + drive_n[j], new = NAME(tangent)(at_n, &unused), rest = 1 - z[j];
        a_n[j] = at_n;
        candidate[j] = new;
        h[j] = keeps ? rest * new + z[j] * before[j] : rest * before[j] + z[j] * new;
    }
}
WIDE static void NAME(gru_state_replace)(npy_intp n, void **x) { NAME(gru_mix)(n, x, 0); }
WIDE static void NAME(gru_state_keep)(npy_intp n, void **x) { NAME(gru_mix)(n, x, 1); }

/* h before, the factor of r, a (r z n), gates (r z n) → keep, h by n, h by z, r's product by r */
static inline void NAME(gru_derivatives)(npy_intp n, void **x, int keeps)
{
    const REAL *before = x[0], *what = x[1], *a_r = x[2], *a_z = x[3], *a_n = x[4], *r = x[5], *z = x[6];
    const REAL *candidate = x[7];
    REAL *keep = x[8], *h_by_n = x[9], *h_by_z = x[10], *by_r = x[11];
    EACH
    {
        REAL not_r, not_z, slope;
        NAME(logistic)(a_r[j], &not_r);
        NAME(logistic)(a_z[j], &not_z);
        NAME(tangent)(a_n[j], &slope);
        const REAL change = candidate[j] - before[j];
        keep[j] = keeps ? z[j] : not_z;
        h_by_n[j] = (keeps ? not_z : z[j]) * slope;
        h_by_z[j] = (keeps ? -change : change) * z[j] * not_z;
        by_r[j] = what[j] * r[j] * not_r;
    }
}
WIDE static void NAME(gru_local_replace)(npy_intp n, void **x) { NAME(gru_derivatives)(n, x, 0); }
WIDE static void NAME(gru_local_keep)(npy_intp n, void **x) { NAME(gru_derivatives)(n, x, 1); }

/* δ, keep, h by n, h by z, by r, r → dL/da (r z n), the same at W h (n behind r), δ of the step before by way of keep;
 * the reset gate after the product */
WIDE static void NAME(gru_back_after)(npy_intp n, void **x)
{
    const REAL *dh = x[0], *keep = x[1], *h_by_n = x[2], *h_by_z = x[3], *by_r = x[4], *r = x[5];
    REAL *at_r = x[6], *at_z = x[7], *at_n = x[8], *into_r = x[9], *into_z = x[10], *into_n = x[11], *before = x[12];
    EACH
    {
        const REAL adjoint = dh[j], through_n = h_by_n[j] * adjoint, through_z = h_by_z[j] * adjoint;
        const REAL through_r = by_r[j] * through_n;
        at_r[j] = into_r[j] = through_r;
        at_z[j] = into_z[j] = through_z;
        at_n[j] = through_n;
        into_n[j] = r[j] * through_n;
        before[j] = keep[j] * adjoint;
    }
}

/* two factors, each followed by its tangent (of r, and of the factor of r) → the tangent of their product */
WIDE static void NAME(gru_jvp_reset)(npy_intp n, void **x)
{
    const REAL *one_by = x[0], *one = x[1], *two_by = x[2], *two = x[3];
    REAL *answer = x[4];
    EACH { answer[j] = one_by[j] * one[j] + two_by[j] * two[j]; }
}

/* the tangents of h, a_z and a_n, each with its factor → that of h a step later */
WIDE static void NAME(gru_jvp)(npy_intp n, void **x)
{
    const REAL *v = x[0], *keep = x[1], *z = x[2], *h_by_z = x[3], *candidate = x[4], *h_by_n = x[5];
    REAL *h = x[6];
    EACH { h[j] = keep[j] * v[j] + h_by_z[j] * z[j] + h_by_n[j] * candidate[j]; }
}

/* (k,h),(k,h,h),(h)->(h,h): factors of rows, matrices, a diagonal → Σ_k diag(factors_k) matrices_k + diag(diagonal) */
WIDE static void NAME(scaled_rows)(char **args, const npy_intp *dimensions, const npy_intp *strides, void *data)
{
    const npy_intp count = dimensions[1], H = dimensions[2], *core = strides + 4;
    const int dense = core[4] == sizeof(REAL) && core[7] == sizeof(REAL);
    const npy_intp n = dense ? H : 1;
    for (npy_intp t = 0; t < dimensions[0]; t++) {
        const char *factors = args[0] + t * strides[0], *matrices = args[1] + t * strides[1];
        const char *diagonal = args[2] + t * strides[2];
        char *answer = args[3] + t * strides[3];
        for (npy_intp h = 0; h < H; h++) {
            char *row = answer + h * core[6];
            for (npy_intp place = 0; place < H; place += n) {
                REAL *sum = (REAL *)(row + place * core[7]);
                EACH { sum[j] = 0; }
                for (npy_intp k = 0; k < count; k++) {
                    const REAL by = *(const REAL *)(factors + k * core[0] + h * core[1]);
                    const REAL *of = (const REAL *)(matrices + k * core[2] + h * core[3] + place * core[4]);
                    EACH { sum[j] += by * of[j]; }
                }
            }
            *(REAL *)(row + h * core[7]) += *(const REAL *)(diagonal + h * core[5]);
        }
    }
    calm();
    (void)data;
}
