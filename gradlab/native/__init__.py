"""Compiled code and reused memory. This page lists what must hold here, and which test checks it.

Four parts stand here because they are fast in ways that Python does not check: formulas in C, the loop over steps in C,
two algorithms on small matrices in C, and pooled buffers. Each has a plain form or works without its trick, so every
number can be compared. Tests are named in parentheses; paths start in ``tests/``.

Compiled formulas (``compiled.py``, ``formulas.h``, ``_steps.c``)
-----------------------------------------------------------------
1. Each formula has a twin in NumPy of the same name
   (``cells/test_compiled.py::test_each_formula_has_a_twin_of_its_name``), decorated with
   :func:`~gradlab.native.compiled.compiled`. The twin is the oracle. Both agree to a few hundred ε
   (``cells/test_compiled.py::test_compiled_is_plain_but_for_rounding``), and the compiled form keeps relative
   precision in saturated units (``cells/test_compiled.py::test_tanh_and_logistic_to_their_last_digits``).
2. The compiled form serves float64 and float32. Complex numbers, arrays that C refuses with ``ValueError``, and
   installations without a compiler use the twin
   (``cells/test_compiled.py::test_without_a_compiler_a_pass_gives_the_same``).
3. Operands may have any strides. Runs that are dense in all operands go to a formula at once, others number by number
   (``cells/test_compiled.py::test_scaled_rows_in_any_memory``, ``cells/test_one_unit.py``). Shapes are checked before
   anything is read (``cells/test_compiled.py::test_blocks_that_do_not_fit_are_refused_before_anything_is_read``).
4. A formula computes row j, column n of its outputs from row j, column n of its inputs alone. An output may therefore
   be the same memory as an input, element by element; it must not overlap one in any other way.
5. A formula leaves no floating-point flag set: it evaluates branches that it does not take. NumPy hence never warns
   about it. Passes look at the numbers themselves
   (``cells/test_compiled.py::test_what_is_out_of_range_ends_as_it_should``).
6. Last digits may differ between processors, because vector widths do. No test may compare them across machines.
7. NumPy's own ufuncs are trusted, except ``negative`` with a strided ``out``, which NumPy 2.2 to 2.4 compute wrongly
   (``cells/test_one_unit.py::test_nothing_of_ours_asks_numpy_for_a_negative_in_place``).

The loop over steps (``loop.py``, ``loop.h``)
---------------------------------------------
8. The first step of a kind runs in Python on arrays that record every ufunc call: the ufunc, and where each operand
   lies. The record becomes a plan. C then calls the same inner loops of the same ufuncs at the later steps'
   addresses, so every bit is that of a loop step by step
   (``cells/test_loop.py::test_the_bits_are_those_of_a_loop_step_by_step``).
9. An operand must lie in an array handed to the step, in a constant (a parameter), in a result of an earlier call, or
   be a number. Any other operand, any reduction, ``where=``, assignment, array function or integer leaves no plan,
   and steps run in Python (``cells/test_loop.py::test_what_is_more_than_ufuncs_on_views_is_taken_step_by_step``).
10. A class that sets ``of_ufuncs = True`` promises what the record cannot see. Its step never leaves the recording
    arrays (``np.asarray``, ``float(a[0])``), never branches on values, and calls the same ufuncs whenever
    ``Cell.kind``, shapes, strides and dtype are the same. The promise is not inherited
    (``cells/test_loop.py::test_a_class_derived_from_one_of_ours_is_not_noted_unless_it_says_so``).
11. The key of a plan is the kind of loop, ``Cell.kind``, and dtype, shape and strides of every constant and of every
    array's step. Other weights use the same plan; another form makes a new one. Plans are never changed, and all are
    dropped together beyond ``MOST`` (``cells/test_loop.py::test_a_plan_serves_other_weights_and_other_threads``).
12. A place is an array and an offset. Constants that overlap have no plan
    (``cells/test_loop.py::test_weights_that_share_memory_leave_no_plan_to_others``). Arrays of one step may share
    memory only in the way that the kind determines, so that an offset means the same in every pass.
13. NumPy copies an input that an output overlaps; C does not. A call whose output overlaps an input, other than
    element by element in an elementwise call or a formula of ours, has no plan
    (``cells/test_loop.py::test_a_call_that_writes_over_what_it_reads_has_no_plan``).
14. Only native float64 and float32, at most 32 calls, 64 arrays and 4 outer axes are accepted
    (``cells/test_loop.py::test_weights_of_the_other_byte_order_have_no_plan``,
    ``cells/test_loop.py::test_a_step_of_more_calls_than_there_is_room_for_is_taken_step_by_step``). C checks the form
    of a plan and the number of steps (``cells/test_loop.py::test_calls_that_are_not_those_of_a_plan_are_refused``);
    it trusts offsets and strides.
15. C runs without the GIL. Intermediate results live in a ``Loop``, which belongs to one pass in one thread. The
    record is emptied once it is a plan, because it and its arrays refer to each other
    (``cells/test_loop.py::test_a_pass_is_gone_with_its_trace_after_its_spectrum``).

Pooled buffers (``pool.py``)
----------------------------
16. The caller of :func:`~gradlab.native.pool.empty` owns the array; contents are undefined. The pool keeps a
    reference to the memory. Memory is free when only the pool refers to it, which its reference count shows, because
    every view refers to the array that owns the memory
    (``bptt/test_in_place.py::test_memory_is_used_again_only_when_nothing_refers_to_it``). A bare address without a
    reference to the array is therefore not safe.
17. ``ALONE``, the count of free memory, is measured at import by the same sequence of calls as in use. It depends on
    the interpreter, and needs one with a GIL.
18. A thread takes a buffer off its list before it looks at the count, and holds a reference before it puts it back.
    Two threads never get the same one (``bptt/test_in_place.py::test_two_threads_never_get_the_same_memory``).
19. Sizes match exactly. Arrays below ``LEAST`` bytes are not pooled. Beyond ``MOST`` bytes the pool drops its
    references, oldest sizes first; arrays in use stay alive with their users
    (``bptt/test_in_place.py::test_no_more_is_kept_than_is_said``,
    ``bptt/test_in_place.py::test_a_trace_keeps_its_numbers_while_others_run``).

Lanczos and Gram-Schmidt (``lanczos.h``, ``gram_schmidt.h``)
------------------------------------------------------------
20. Lanczos returns σ_max with a residual that bounds its error by 5e-11, or nan; it is never wrong silently. Callers
    replace nan by LAPACK's value
    (``jacobians/test_lanczos.py::test_of_each_dense_matrix_the_largest_value_is_right_or_nan``,
    ``jacobians/test_lanczos.py::test_values_whose_squares_leave_the_range_are_never_wrong``).
21. A matrix changes no digit of another in C, where each is processed alone, and nothing beyond rounding in the twin.
    Chunks and threads hence change no result
    (``jacobians/test_lanczos.py::test_a_matrix_that_is_not_finite_leaves_the_others_right``,
    ``jacobians/test_lanczos.py::test_what_one_matrix_needs_changes_nothing_of_another``). C computes in float64;
    compilers without vector arithmetic have the twin only.
22. Gram-Schmidt takes dense arrays; others use the twin
    (``cells/test_compiled.py::test_gram_schmidt_of_what_has_gaps_is_the_same``). Columns of Q are orthogonal up to
    κ·ε, and the third result bounds κ²; the caller uses Householder's QR beyond it
    (``cells/test_compiled.py::test_gram_schmidt_is_the_plain_one_and_householders``).
"""
