/* The elementwise formulas of the cells as NumPy ufuncs: one pass over memory where NumPy's own would take twenty. Also
 * Gram-Schmidt (gram_schmidt.h) and Lanczos (lanczos.h) on small matrices, and the loop over steps (loop.h).
 *
 * Each has a twin of the same name in NumPy (gradlab/cells/: rnn.py, lstm.py, gru.py, base.py, activations.py;
 * gradlab/jacobians/: lanczos.py, lyapunov.py). The twin is the oracle, and runs without a C compiler. The formulas are
 * in formulas.h, which is included once per number type. This file passes memory to them and lists them in a table. A
 * new formula is a function there and a line here. __init__.py lists the invariants.
 */
#define PY_SSIZE_T_CLEAN
#define NPY_NO_DEPRECATED_API NPY_1_25_API_VERSION
#include <Python.h>
#include <numpy/ndarraytypes.h>
#include <numpy/ufuncobject.h>

#include <fenv.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The compiler makes one version per vector width; the machine selects one when the module is loaded. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define WIDE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WIDE
#endif
#if defined(__clang__)
#define EACH _Pragma("clang loop vectorize(assume_safety)") for (npy_intp j = 0; j < n; j++)
#elif defined(__GNUC__)
#define EACH _Pragma("GCC ivdep") for (npy_intp j = 0; j < n; j++)
#else
#define EACH for (npy_intp j = 0; j < n; j++)
#endif
#if defined(__GNUC__) || defined(_MSC_VER)
#define RESTRICT __restrict
#else
#define RESTRICT
#endif

/* NumPy checks floating-point exceptions after each loop. Branches that are computed and not taken raise some, so all
 * are cleared. The passes check the numbers themselves. */

static void calm(void)
{
    const int all = FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INVALID;
    if (fetestexcept(all)) feclearexcept(all); /* clearing takes ten times as long as testing */
}

/* Whether an operand is contiguous. */
static int packed(int axes, const npy_intp *sizes, const npy_intp *strides, npy_intp size)
{
    while (axes-- > 0) {
        if (sizes[axes] != 1 && strides[axes] != size) return 0;
        size *= sizes[axes];
    }
    return 1;
}

#define REAL double
#define NAME(name) name##_double
#define ABS fabs
#define SQRT sqrt
#define COPYSIGN copysign
#define BITS uint64_t
#define MANTISSA 52
#define BIAS 1023
#define TO_INTEGER 0x1.8p52
#define LOWEST -708.0
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#define TAYLOR(r) (r * (1.0/6 + r * (1.0/24 + r * (1.0/120 + r * (1.0/720 + r * (1.0/5040 + r * (1.0/40320 + r * \
    (1.0/362880 + r * (1.0/3628800 + r * (1.0/39916800 + r * (1.0/479001600 + r * (1.0/6227020800.0))))))))))))
#include "formulas.h"
#include "gram_schmidt.h"
#undef REAL
#undef NAME
#undef ABS
#undef SQRT
#undef COPYSIGN
#undef BITS
#undef MANTISSA
#undef BIAS
#undef TO_INTEGER
#undef LOWEST
#undef LN2_HIGH
#undef LN2_LOW
#undef TAYLOR

#define REAL float
#define NAME(name) name##_float
#define ABS fabsf
#define SQRT sqrtf
#define COPYSIGN copysignf
#define BITS uint32_t
#define MANTISSA 23
#define BIAS 127
#define TO_INTEGER 0x1.8p23f
#define LOWEST -87.0f
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440e-4f
#define TAYLOR(r) (r * (1.0f/6 + r * (1.0f/24 + r * (1.0f/120 + r * (1.0f/720 + r * (1.0f/5040))))))
#include "formulas.h"
#include "gram_schmidt.h"

/* --- from arrays to contiguous stretches ------------------------------------------------------------------------- */

enum { MOST_OPERANDS = 16, MOST_BLOCKS = 32 };

typedef void Formula(npy_intp n, void **x);

typedef struct {
    const char *name, *signature; /* NULL: elementwise */
    Formula *of[2];               /* double, float */
    int inputs, outputs;
    int blocks[MOST_OPERANDS]; /* in each operand */
    int sizes[2];              /* how many H each further dimension of the signature is */
} Steps;

typedef struct {
    const Steps *steps;
    Formula *formula;
    npy_intp size;
    int within; /* inside a loop (loop.h), which clears the flags at its end */
} Kind;

/* Elementwise: operands of n numbers each, dense or strided. */
static void along(char **args, const npy_intp *dimensions, const npy_intp *strides, void *data)
{
    const Kind *kind = data;
    const int operands = kind->steps->inputs + kind->steps->outputs;
    const npy_intp n = dimensions[0];
    int dense = 1;
    for (int i = 0; i < operands; i++) dense &= strides[i] == kind->size;
    for (npy_intp j = 0; j < (dense ? 1 : n); j++) {
        void *x[MOST_OPERANDS];
        for (int i = 0; i < operands; i++) x[i] = args[i] + j * strides[i];
        kind->formula(dense ? n : 1, x);
    }
    if (!kind->within) calm();
}

/* Columns: the last two axes of an operand are its blocks of H rows, and N; these are the first two dimensions of a
 * signature. The longest stretches that are dense in all operands go to the formula at once. */
static void columns(char **args, const npy_intp *dimensions, const npy_intp *strides, void *data)
{
    const Kind *kind = data;
    const Steps *steps = kind->steps;
    const int operands = steps->inputs + steps->outputs;
    const npy_intp H = dimensions[1], N = dimensions[2], *core = strides + operands;
    int dense_rows = 1, dense = 1;
    for (int i = 0; i < 2 && steps->sizes[i]; i++) {
        if (dimensions[3 + i] != steps->sizes[i] * H) {
            NPY_ALLOW_C_API_DEF
            NPY_ALLOW_C_API
            PyErr_Format(PyExc_ValueError, "%s: expected %d blocks of %zd rows, got %zd rows", steps->name,
                         steps->sizes[i], (Py_ssize_t)H, (Py_ssize_t)dimensions[3 + i]);
            NPY_DISABLE_C_API
            return;
        }
    }
    for (int i = 0; i < operands; i++) {
        dense_rows &= N == 1 || core[2 * i + 1] == kind->size;
        dense &= H == 1 || core[2 * i] == N * kind->size;
    }
    dense &= dense_rows;
    const npy_intp rows = dense ? 1 : H, places = dense_rows ? 1 : N, n = dense ? H * N : dense_rows ? N : 1;
    for (npy_intp t = 0; t < dimensions[0]; t++) {
        for (npy_intp row = 0; row < rows; row++) {
            for (npy_intp place = 0; place < places; place++) {
                void *x[MOST_BLOCKS];
                int b = 0;
                for (int i = 0; i < operands; i++) {
                    char *start = args[i] + t * strides[i] + row * core[2 * i] + place * core[2 * i + 1];
                    for (int k = 0; k < steps->blocks[i]; k++) x[b++] = start + k * H * core[2 * i];
                }
                kind->formula(n, x);
            }
        }
    }
    if (!kind->within) calm();
}

/* --- one matrix after another ----------------------------------------------------------------------------------- */

#if defined(__GNUC__) /* has vector arithmetic */
#define VECTORS
#include "lanczos.h"
#endif

/* --- the table ---------------------------------------------------------------------------------------------------- */

#define BOTH(name) #name, NULL, {name##_double, name##_float}
#define COLUMNS(name, signature) #name, signature, {name##_double, name##_float}

#define GRU_STATE "(h,n),(h,n),(g,n),(h,n)->(h,n),(h,n),(h,n)"
#define GRU_LOCAL "(h,n),(h,n),(g,n),(g,n)->(h,n),(h,n),(h,n),(h,n)"

/* In signatures h, f, g and k are H rows, or those of two, three and four blocks. */
static const Steps table[] = {
    {BOTH(tanh_derivative), 2, 1, {1, 1, 1}, {0}},
    {BOTH(rnn_tanh_step), 2, 2, {1, 1, 1, 1}, {0}},
    {COLUMNS(lstm_step, "(h,n),(k,n),(k,n)->(k,n),(k,n),(h,n),(h,n)"), 3, 4, {1, 4, 4, 4, 4, 1, 1}, {4}},
    {COLUMNS(lstm_local, "(h,n),(h,n),(k,n),(k,n)->(h,n),(h,n),(h,n),(h,n),(h,n)"),
     4, 5, {1, 1, 4, 4, 1, 1, 1, 1, 1}, {4}},
    {COLUMNS(lstm_back, "(h,n),(h,n),(h,n),(h,n),(h,n),(h,n),(h,n),(h,n)->(k,n),(h,n)"),
     8, 2, {1, 1, 1, 1, 1, 1, 1, 1, 4, 1}, {4}},
    {COLUMNS(lstm_jvp, "(h,n),(h,n),(h,n),(h,n),(h,n),(h,n),(h,n),(k,n)->(h,n),(h,n)"),
     8, 2, {1, 1, 1, 1, 1, 1, 1, 4, 1, 1}, {4}},
    {COLUMNS(gru_gates, "(h,n),(f,n),(g,n)->(f,n),(f,n),(h,n)"), 3, 3, {1, 2, 3, 2, 2, 1}, {2, 3}},
    {COLUMNS(gru_state_replace, GRU_STATE), 4, 3, {1, 1, 3, 1, 1, 1, 1}, {3}},
    {COLUMNS(gru_state_keep, GRU_STATE), 4, 3, {1, 1, 3, 1, 1, 1, 1}, {3}},
    {COLUMNS(gru_local_replace, GRU_LOCAL), 4, 4, {1, 1, 3, 3, 1, 1, 1, 1}, {3}},
    {COLUMNS(gru_local_keep, GRU_LOCAL), 4, 4, {1, 1, 3, 3, 1, 1, 1, 1}, {3}},
    {COLUMNS(gru_back_after, "(h,n),(h,n),(h,n),(h,n),(h,n),(h,n)->(g,n),(g,n),(h,n)"),
     6, 3, {1, 1, 1, 1, 1, 1, 3, 3, 1}, {3}},
    {BOTH(gru_jvp_reset), 4, 1, {1, 1, 1, 1, 1}, {0}},
    {BOTH(gru_jvp), 6, 1, {1, 1, 1, 1, 1, 1, 1}, {0}},
};
enum { COUNT = sizeof table / sizeof table[0] };

/* NumPy keeps pointers to these as long as the ufuncs live, that is to the end of the process. */
static Kind kinds[COUNT][2];
static void *data_of[COUNT][2];
static char types_of[COUNT][2 * MOST_OPERANDS];
static PyUFuncGenericFunction loops[2][2] = {{along, along}, {columns, columns}};

static PyObject *ufunc(int index)
{
    const Steps *steps = &table[index];
    const int operands = steps->inputs + steps->outputs;
    for (int type = 0; type < 2; type++) {
        kinds[index][type] = (Kind){steps, steps->of[type], type ? sizeof(float) : sizeof(double), 0};
        data_of[index][type] = &kinds[index][type];
        memset(types_of[index] + type * operands, type ? NPY_FLOAT : NPY_DOUBLE, operands);
    }
    return PyUFunc_FromFuncAndDataAndSignature(loops[steps->signature != NULL], data_of[index], types_of[index], 2,
                                               steps->inputs, steps->outputs, PyUFunc_None, steps->name, "", 0,
                                               steps->signature);
}

/* Functions with inner loops of their own. */
static struct {
    const char *name, *signature;
    PyUFuncGenericFunction loops[2]; /* double, float */
    int types, inputs, outputs;
} wholes[] = {
    {"scaled_rows", "(k,h),(k,h,h),(h)->(h,h)", {scaled_rows_double, scaled_rows_float}, 2, 3, 1},
    {"gram_schmidt", "(s,k,n)->(s,k,n),(k,n),(n)", {gram_schmidt_double, gram_schmidt_float}, 2, 1, 3},
#ifdef VECTORS
    {"largest_of_each", "(s,s),(s)->()", {largest_of_each}, 1, 2, 1},
#endif
};
enum { WHOLES = sizeof wholes / sizeof wholes[0] };

static PyObject *whole(int index)
{
    static void *none[2];
    /* four operands; or fewer, of double alone */
    static char types[] = {NPY_DOUBLE, NPY_DOUBLE, NPY_DOUBLE, NPY_DOUBLE, NPY_FLOAT, NPY_FLOAT, NPY_FLOAT, NPY_FLOAT};
    return PyUFunc_FromFuncAndDataAndSignature(wholes[index].loops, none, types, wholes[index].types,
                                               wholes[index].inputs, wholes[index].outputs, PyUFunc_None,
                                               wholes[index].name, "", 0, wholes[index].signature);
}

static int put_in(PyObject *module, const char *name, PyObject *one)
{
    if (one != NULL && PyModule_AddObject(module, name, one) == 0) return 1;
    Py_XDECREF(one);
    return 0;
}

#include "loop.h"

static PyMethodDef functions[] = {{"take", take, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_steps", NULL, -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__steps(void)
{
    import_array();
    import_umath();
    PyObject *module = PyModule_Create(&definition);
    int put = module != NULL;
    for (int index = 0; put && index < COUNT; index++) put = put_in(module, table[index].name, ufunc(index));
    for (int index = 0; put && index < WHOLES; index++) put = put_in(module, wholes[index].name, whole(index));
    if (!put) Py_CLEAR(module);
    return module;
}
