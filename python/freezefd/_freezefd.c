// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The calls of libfreezefd, and the owner of freeze descriptors. An interrupt (Ctrl-C) may come
 * between any two steps of Python code; a descriptor that is only a number on its way there
 * would be lost, and the filesystem left frozen. So descriptors are made, thawed at the end of a
 * block, and closed here. The rest is in __init__.py.
 *
 * One file, because all of it is private to the one module that it makes.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include <freezefd.h>

struct hold {
	PyObject_HEAD PyObject *targets; /* a tuple: what the caller named, for messages */
	int *fds; /* one a target; -1: on the filesystem of an earlier one, or closed */
	size_t count;
	pid_t owner; /* who froze: a child of fork() does not thaw what is its parent's */
	bool held;   /* frozen, and no thaw has told otherwise */
	bool closed;
};

/* freezefd.NAME(...): what needs no more than Python. */
static PyObject *call_python(const char *name, const char *format, int err, PyObject *target,
			     PyObject *last)
{
	PyObject *module = PyImport_ImportModule("freezefd"), *result;

	if (!module)
		return NULL;
	result = PyObject_CallMethod(module, name, format, -err, target, last);
	Py_DECREF(module);
	return result;
}

/* Raises for an error of the library, a negative errno value. */
static PyObject *fail(int err, PyObject *target, bool held)
{
	PyObject *error = call_python("_error", "iOO", err, target, held ? Py_True : Py_False);

	if (error) {
		PyErr_SetObject((PyObject *)Py_TYPE(error), error);
		Py_DECREF(error);
	}
	return NULL;
}

/* --- making one --- */

/* A tuple of descriptors as an array for free(). */
static int *numbers(PyObject *tuple, size_t count)
{
	int *fds = calloc(count ? count : 1, sizeof(*fds));

	if (!fds)
		return (int *)PyErr_NoMemory();
	for (size_t i = 0; i < count; i++) {
		fds[i] = PyObject_AsFileDescriptor(PyTuple_GetItem(tuple, (Py_ssize_t)i));
		if (fds[i] < 0) {
			free(fds);
			return NULL;
		}
	}
	return fds;
}

static int open_one(int target, int *fd, const struct freezefd_options *options)
{
	PyThreadState *thread;
	int ret;

	do {
		thread = PyEval_SaveThread();
		ret = freezefd_open(target, options);
		PyEval_RestoreThread(thread);
	} while (ret == -EINTR && !PyErr_CheckSignals());
	if (ret < 0)
		return ret;
	*fd = ret;
	return 0;
}

static int open_group(const int *targets, struct hold *hold, const struct freezefd_options *options,
		      size_t *failed)
{
	PyThreadState *thread;
	int ret;

	thread = PyEval_SaveThread();
	ret = freezefd_open_group(targets, hold->fds, hold->count, options, failed);
	PyEval_RestoreThread(thread);
	return ret;
}

static bool open_all(struct hold *hold, const int *targets, const struct freezefd_options *options)
{
	size_t failed = 0;
	int ret;

	if (hold->count == 1)
		ret = open_one(targets[0], &hold->fds[0], options);
	else
		ret = open_group(targets, hold, options, &failed);
	if (ret < 0) {
		if (!PyErr_Occurred())
			fail(ret, PyTuple_GetItem(hold->targets, (Py_ssize_t)failed), false);
		return false;
	}
	hold->held = !(options->flags & FREEZEFD_THAWED);
	hold->closed = false;
	return true;
}

static struct hold *allocate(PyTypeObject *type, PyObject *targets, size_t count)
{
	allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
	struct hold *hold = (struct hold *)alloc(type, 0);

	if (!hold)
		return NULL;
	hold->fds = malloc((count ? count : 1) * sizeof(*hold->fds));
	if (!hold->fds) {
		Py_DECREF(hold);
		return (struct hold *)PyErr_NoMemory();
	}
	for (size_t i = 0; i < count; i++)
		hold->fds[i] = -1;
	hold->targets = Py_NewRef(targets);
	hold->count = count;
	hold->owner = getpid();
	hold->closed = true;
	return hold;
}

/* Hold(descriptors, targets, timeout_ns, thawed, may_stay_frozen, engine) */
static PyObject *hold_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	struct freezefd_options options = {.size = sizeof(options)};
	PyObject *descriptors, *names;
	unsigned long long timeout_ns;
	int thawed, may_stay_frozen, *targets;
	struct hold *hold;
	size_t count;

	if (kwargs && PyDict_Size(kwargs)) {
		PyErr_SetString(PyExc_TypeError, "use freezefd.freeze()");
		return NULL;
	}
	if (!PyArg_ParseTuple(args, "O!O!Kppz;use freezefd.freeze()", &PyTuple_Type, &descriptors,
			      &PyTuple_Type, &names, &timeout_ns, &thawed, &may_stay_frozen,
			      &options.engine))
		return NULL;
	count = (size_t)PyTuple_Size(descriptors);
	if (!count || PyTuple_Size(names) != (Py_ssize_t)count) {
		PyErr_SetString(PyExc_TypeError, "use freezefd.freeze()");
		return NULL;
	}
	options.timeout_ns = timeout_ns;
	options.flags =
		(thawed ? FREEZEFD_THAWED : 0) | (may_stay_frozen ? FREEZEFD_MAY_STAY_FROZEN : 0);
	targets = numbers(descriptors, count);
	if (!targets)
		return NULL;
	hold = allocate(type, names, count);
	if (hold && !open_all(hold, targets, &options)) {
		Py_DECREF(hold);
		hold = NULL;
	}
	free(targets);
	return (PyObject *)hold;
}

/* --- ending one --- */

static int compare(const void *a, const void *b)
{
	const int one = *(const int *)a, two = *(const int *)b;

	return (one > two) - (one < two);
}

/*
 * From the lowest number on: an upper filesystem that thaws first would wait for the one that it
 * lies on, see freezefd_open_group(3). Other threads see a closed hold at once.
 */
static void close_all(struct hold *hold)
{
	PyThreadState *thread;

	if (hold->closed)
		return;
	hold->closed = true;
	hold->held = false;
	thread = PyEval_SaveThread();
	qsort(hold->fds, hold->count, sizeof(*hold->fds), compare);
	for (size_t i = 0; i < hold->count; i++)
		if (hold->fds[i] >= 0)
			close(hold->fds[i]);
	PyEval_RestoreThread(thread);
}

/* Tells which one an error is about. */
static int thaw_all(struct hold *hold, size_t *failed)
{
	int *results = calloc(hold->count, sizeof(*results)), ret;
	PyThreadState *thread;

	if (!results)
		return -ENOMEM;
	thread = PyEval_SaveThread();
	ret = freezefd_thaw_group(hold->fds, hold->count, results);
	PyEval_RestoreThread(thread);
	hold->held = false;
	for (*failed = 0; ret && *failed + 1 < hold->count; ++*failed)
		if (results[*failed])
			break;
	if (ret && results[*failed])
		ret = results[*failed];
	free(results);
	return ret;
}

static void hold_dealloc(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);
	struct hold *hold = (struct hold *)self;
	PyObject *error, *value, *traceback;

	PyErr_Fetch(&error, &value, &traceback);
	if (!hold->closed && hold->fds) {
		close_all(hold);
		if (PyErr_WarnFormat(PyExc_ResourceWarning, 1, "hold of %R was never closed",
				     hold->targets))
			PyErr_WriteUnraisable((PyObject *)type);
	}
	Py_CLEAR(hold->targets);
	free(hold->fds);
	PyErr_Restore(error, value, traceback);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
	Py_DECREF(type);
}

static struct hold *open_hold(PyObject *self)
{
	struct hold *hold = (struct hold *)self;

	if (!hold->closed)
		return hold;
	PyErr_SetString(PyExc_ValueError, "the hold is closed");
	return NULL;
}

static PyObject *hold_close(PyObject *self, PyObject *unused)
{
	close_all((struct hold *)self);
	return Py_NewRef(Py_None);
}

static PyObject *hold_enter(PyObject *self, PyObject *unused)
{
	if (!open_hold(self))
		return NULL;
	return Py_NewRef(self);
}

static PyObject *hold_exit(PyObject *self, PyObject *args)
{
	struct hold *hold = (struct hold *)self;
	PyObject *type, *value, *traceback;
	size_t failed = 0;
	int ret = 0;

	if (!PyArg_ParseTuple(args, "OOO:__exit__", &type, &value, &traceback))
		return NULL;
	if (!hold->closed && hold->held && hold->owner == getpid())
		ret = thaw_all(hold, &failed);
	close_all(hold);
	if (!ret)
		return Py_NewRef(Py_None);
	return call_python("_tell_at_exit", "iOO", ret,
			   PyTuple_GetItem(hold->targets, (Py_ssize_t)failed), value);
}

/* --- using one --- */

static struct hold *single_hold(PyObject *self)
{
	struct hold *hold = open_hold(self);

	if (!hold || hold->count == 1)
		return hold;
	PyErr_SetString(PyExc_ValueError, "not for a group: use filenos()");
	return NULL;
}

static PyObject *hold_fileno(PyObject *self, PyObject *unused)
{
	struct hold *hold = single_hold(self);

	return hold ? PyLong_FromLong(hold->fds[0]) : NULL;
}

static PyObject *hold_filenos(PyObject *self, PyObject *unused)
{
	struct hold *hold = open_hold(self);
	PyObject *list = hold ? PyList_New(0) : NULL, *tuple;

	for (size_t i = 0; list && i < hold->count; i++) {
		PyObject *number;

		if (hold->fds[i] < 0)
			continue;
		number = PyLong_FromLong(hold->fds[i]);
		if (!number || PyList_Append(list, number))
			Py_CLEAR(list);
		Py_XDECREF(number);
	}
	tuple = list ? PyList_AsTuple(list) : NULL;
	Py_XDECREF(list);
	return tuple;
}

static PyObject *hold_freeze(PyObject *self, PyObject *unused)
{
	struct hold *hold = single_hold(self);
	PyThreadState *thread;
	int ret;

	if (!hold)
		return NULL;
	do {
		thread = PyEval_SaveThread();
		ret = freezefd_freeze(hold->fds[0]);
		PyEval_RestoreThread(thread);
	} while (ret == -EINTR && !PyErr_CheckSignals());
	if (PyErr_Occurred())
		return NULL;
	if (ret < 0)
		return fail(ret, PyTuple_GetItem(hold->targets, 0), hold->held);
	hold->held = true;
	return Py_NewRef(Py_None);
}

static PyObject *hold_thaw(PyObject *self, PyObject *unused)
{
	struct hold *hold = open_hold(self);
	size_t failed = 0;
	bool held;
	int ret;

	if (!hold)
		return NULL;
	held = hold->held;
	ret = thaw_all(hold, &failed);
	if (ret < 0)
		return fail(ret, PyTuple_GetItem(hold->targets, (Py_ssize_t)failed), held);
	return Py_NewRef(Py_None);
}

static PyObject *hold_set_timeout(PyObject *self, PyObject *args)
{
	struct hold *hold = open_hold(self);
	unsigned long long ns;

	if (!hold || !PyArg_ParseTuple(args, "K", &ns))
		return NULL;
	for (size_t i = 0; i < hold->count; i++) {
		PyThreadState *thread;
		int ret = 0;

		thread = PyEval_SaveThread();
		if (hold->fds[i] >= 0)
			ret = freezefd_set_timeout(hold->fds[i], ns);
		PyEval_RestoreThread(thread);
		if (ret < 0)
			return fail(ret, PyTuple_GetItem(hold->targets, (Py_ssize_t)i), hold->held);
	}
	return Py_NewRef(Py_None);
}

static PyObject *hold_targets(PyObject *self, void *unused)
{
	return Py_NewRef(((struct hold *)self)->targets);
}

static PyObject *hold_closed(PyObject *self, void *unused)
{
	return PyBool_FromLong(((struct hold *)self)->closed);
}

/* clang-format off */
static PyMethodDef hold_methods[] = {
	{"__enter__", hold_enter, METH_NOARGS, NULL},
	{"__exit__", hold_exit, METH_VARARGS,
	 "Thaw and close. Raises BrokenHold when the filesystem was not frozen all the time."},
	{"close", hold_close, METH_NOARGS,
	 "close()\n--\n\nEnd the hold without asking whether it lasted."},
	{"fileno", hold_fileno, METH_NOARGS,
	 "fileno()\n--\n\nThe freeze descriptor. It stays the hold's: do not close it."},
	{"filenos", hold_filenos, METH_NOARGS,
	 "filenos()\n--\n\nThe freeze descriptors of a group, one for each filesystem, in the order of the targets."},
	{"freeze", hold_freeze, METH_NOARGS,
	 "freeze()\n--\n\nFreeze again after a thaw, with the same deadline. Not for a group."},
	{"thaw", hold_thaw, METH_NOARGS,
	 "thaw()\n--\n\nEnd the hold and keep the descriptor.\n\n"
	 "Raises BrokenHold, once, when the filesystem was not frozen from the freeze until now."},
	{"_set_timeout", hold_set_timeout, METH_VARARGS, NULL},
	{NULL},
};
/* clang-format on */

static PyGetSetDef hold_getset[] = {
	{"targets", hold_targets, NULL, "What was frozen, as freeze() was told.", NULL},
	{"closed", hold_closed, NULL, "Whether the descriptors are closed.", NULL},
	{NULL},
};

static PyType_Slot hold_slots[] = {
	{Py_tp_new, hold_new},
	{Py_tp_dealloc, hold_dealloc},
	{Py_tp_methods, hold_methods},
	{Py_tp_getset, hold_getset},
	{0, NULL},
};

static PyType_Spec hold_spec = {
	.name = "freezefd._freezefd.Hold",
	.basicsize = sizeof(struct hold),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	.slots = hold_slots,
};

/* --- what needs no freeze descriptor; each is given a descriptor and its name for messages --- */

static bool target_of(PyObject *args, int *fd, PyObject **name)
{
	PyObject *descriptor;

	if (!PyArg_ParseTuple(args, "OO", &descriptor, name))
		return false;
	*fd = PyObject_AsFileDescriptor(descriptor);
	return *fd >= 0;
}

static PyObject *status(PyObject *module, PyObject *args)
{
	struct freezefd_status s;
	PyThreadState *thread;
	PyObject *name;
	int fd, ret;

	if (!target_of(args, &fd, &name))
		return NULL;
	thread = PyEval_SaveThread();
	ret = freezefd_status(fd, &s);
	PyEval_RestoreThread(thread);
	if (ret < 0)
		return fail(ret, name, false);
	return Py_BuildValue("IIIIIIIKK", s.state, s.hold, s.fd_holds, s.user_holds, s.kernel_holds,
			     s.bdev_holds, s.dev, (unsigned long long)s.frozen_ns,
			     (unsigned long long)s.timeout_ns);
}

static PyObject *thaw_force(PyObject *module, PyObject *args)
{
	PyThreadState *thread;
	PyObject *name;
	int fd, ret;

	if (!target_of(args, &fd, &name))
		return NULL;
	thread = PyEval_SaveThread();
	ret = freezefd_thaw_force(fd);
	PyEval_RestoreThread(thread);
	if (ret < 0)
		return fail(ret, name, false);
	return Py_NewRef(Py_None);
}

static PyObject *engine(PyObject *module, PyObject *args)
{
	const char *engine_name;
	PyThreadState *thread;
	PyObject *name;
	int fd, err;

	if (!target_of(args, &fd, &name))
		return NULL;
	thread = PyEval_SaveThread();
	engine_name = freezefd_engine(fd);
	err = errno;
	PyEval_RestoreThread(thread);
	return engine_name ? PyUnicode_FromString(engine_name) : fail(-err, name, false);
}

static PyMethodDef functions[] = {
	{"status", status, METH_VARARGS, NULL},
	{"thaw_force", thaw_force, METH_VARARGS, NULL},
	{"engine", engine, METH_VARARGS, NULL},
	{NULL},
};

static int fill(PyObject *module)
{
	PyObject *type = PyType_FromModuleAndSpec(module, &hold_spec, NULL);
	int ret = type ? PyModule_AddType(module, (PyTypeObject *)type) : -1;

	Py_XDECREF(type);
	return ret;
}

static PyModuleDef_Slot slots[] = {
	{Py_mod_exec, fill},
	{0, NULL},
};

static PyModuleDef definition = {
	PyModuleDef_HEAD_INIT,
	.m_name = "_freezefd",
	.m_methods = functions,
	.m_slots = slots,
};

PyMODINIT_FUNC PyInit__freezefd(void)
{
	return PyModuleDef_Init(&definition);
}
