/* A loop over steps in one call, for loop.py. Included by _steps.c.
 *
 * A call is a ufunc, the index of an inner loop among its loops, and integers: the number of outer axes and their
 * lengths; dimensions and strides as NumPy passes them to that loop; then per operand the index of its array, its offset
 * in bytes from the start of that array's step, and its strides along the outer axes.
 */
enum { MOST_CALLS = 32, MOST_AXES = 4, MOST_ARRAYS = 64 };

typedef struct {
    PyUFuncGenericFunction loop;
    void *data;
    int operands, outer;
    const npy_intp *lengths, *dimensions, *strides, *places;
    Kind kind; /* for our own formulas */
} Call;

/* Read one call; return 0, with an error set, if it has not the form that loop.py writes. */
static int read_call(PyObject *one, Py_ssize_t arrays, Call *call)
{
    PyUFuncObject *ufunc;
    PyArrayObject *code;
    int which;
    if (!PyArg_ParseTuple(one, "O!iO!", &PyUFunc_Type, &ufunc, &which, &PyArray_Type, &code)) return 0;
    const npy_intp *numbers = PyArray_DATA(code);
    int core = 0;
    if (ufunc->core_enabled)
        for (int i = 0; i < ufunc->nargs; i++) core += ufunc->core_num_dims[i];
    const int sizes = 1 + (ufunc->core_enabled ? ufunc->core_num_dim_ix : 0);
    const int sound = PyArray_TYPE(code) == NPY_INTP && PyArray_IS_C_CONTIGUOUS(code) && PyArray_SIZE(code) > 0 &&
                      which >= 0 && which < ufunc->ntypes && ufunc->functions != NULL &&
                      ufunc->functions[which] != NULL && ufunc->nargs <= MOST_OPERANDS && numbers[0] >= 0 &&
                      numbers[0] <= MOST_AXES &&
                      PyArray_SIZE(code) == 1 + numbers[0] + sizes + ufunc->nargs + core + ufunc->nargs * (2 + numbers[0]);
    if (!sound) {
        PyErr_Format(PyExc_ValueError, "the call of %s is not one that can be taken", ufunc->name);
        return 0;
    }
    *call = (Call){ufunc->functions[which], ufunc->data[which], ufunc->nargs, (int)numbers[0]};
    if (call->loop == along || call->loop == columns) {
        call->kind = *(const Kind *)call->data;
        call->kind.within = 1;
        call->data = &call->kind;
    }
    call->lengths = numbers + 1;
    call->dimensions = call->lengths + call->outer;
    call->strides = call->dimensions + sizes;
    call->places = call->strides + call->operands + core;
    for (int i = 0; i < call->operands; i++) {
        const npy_intp array = call->places[i * (2 + call->outer)];
        if (array < 0 || array >= arrays) {
            PyErr_SetString(PyExc_ValueError, "an operand is in an array that is not there");
            return 0;
        }
    }
    return 1;
}

static void make(const Call *call, char **arrays)
{
    npy_intp at[MOST_AXES] = {0};
    char *here[MOST_OPERANDS], *handed[MOST_OPERANDS]; /* a loop may change the pointers it receives */
    const int outer = call->outer, operands = call->operands;
    for (int i = 0; i < operands; i++) {
        const npy_intp *place = call->places + i * (2 + outer);
        here[i] = arrays[place[0]] + place[1];
    }
    for (;;) {
        for (int i = 0; i < operands; i++) handed[i] = here[i];
        call->loop(handed, call->dimensions, call->strides, call->data);
        int axis = outer - 1;
        for (; axis >= 0; axis--) {
            const npy_intp *along = call->places + 2 + axis, length = call->lengths[axis];
            const npy_intp moves = ++at[axis] == length ? 1 - length : 1;
            for (int i = 0; i < operands; i++) here[i] += moves * along[i * (2 + outer)];
            if (moves == 1) break;
            at[axis] = 0;
        }
        if (axis < 0) return;
    }
}

/* take(calls, moving, standing, n): make the calls for each of the first n steps of the moving arrays. */
static PyObject *take(PyObject *module, PyObject *args)
{
    PyObject *given, *moving, *standing;
    Py_ssize_t n;
    Call calls[MOST_CALLS];
    char *here[MOST_ARRAYS];
    npy_intp strides[MOST_ARRAYS];
    if (!PyArg_ParseTuple(args, "O!O!O!n", &PyTuple_Type, &given, &PyTuple_Type, &moving, &PyTuple_Type, &standing, &n))
        return NULL;
    const Py_ssize_t count = PyTuple_GET_SIZE(given), move = PyTuple_GET_SIZE(moving);
    const Py_ssize_t arrays = move + PyTuple_GET_SIZE(standing);
    if (count > MOST_CALLS || arrays > MOST_ARRAYS) {
        PyErr_SetString(PyExc_ValueError, "more calls or arrays in a step than can be taken");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        if (!read_call(PyTuple_GET_ITEM(given, i), arrays, &calls[i])) return NULL;
    for (Py_ssize_t i = 0; i < arrays; i++) {
        PyObject *one = i < move ? PyTuple_GET_ITEM(moving, i) : PyTuple_GET_ITEM(standing, i - move);
        PyArrayObject *array = (PyArrayObject *)one;
        if (!PyArray_Check(one) || (i < move && (PyArray_NDIM(array) == 0 || PyArray_DIM(array, 0) < n))) {
            PyErr_SetString(PyExc_ValueError, "an array has fewer steps than are to be taken");
            return NULL;
        }
        here[i] = PyArray_BYTES(array);
        if (i < move) strides[i] = PyArray_STRIDE(array, 0);
    }
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t t = 0; t < n; t++) {
        for (Py_ssize_t i = 0; i < count; i++) make(&calls[i], here);
        for (Py_ssize_t i = 0; i < move; i++) here[i] += strides[i];
    }
    calm();
    Py_END_ALLOW_THREADS
    if (PyErr_Occurred()) return NULL; /* set by an inner loop */
    Py_RETURN_NONE;
}
