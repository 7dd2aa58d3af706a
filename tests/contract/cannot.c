// SPDX-License-Identifier: GPL-2.0-or-later
/* What an engine cannot keep of the contract. */
#include <sys/utsname.h>

#include "contract.h"

/*
 * What an engine cannot keep: the clause, how the test's text begins ("" for
 * every test of the clause), and why; with two releases, only kernels
 * from the first on and before the second one cannot; with a type, only on that
 * filesystem. The native engine keeps all.
 */
#define ONE_FIFREEZE "a kernel without the series lets user space freeze once"
#define ONE_HOLD     "this kernel has one hold, for all"
#define ONE_DEVICE   "in this kernel only the first device leads to its filesystem"
#define NO_BTRFS     "in this kernel no device leads to a btrfs, and one that is unmounted is not found"
#define UNENDING \
	"nothing ends a freeze that waits for a writer: its caller returns, but writers wait"
static const struct {
	const char *engine;
	const char *clause;
	const char *test;
	const char *reason;
	const char *from;
	const char *before;
	const char *fstype;
} cannot[] = {
	{"guardian", "C4", "when close returns",
	 "the guardian hears of the last close and thaws a moment later"},
	{"guardian", "C5", "FITHAW of a stranger",
	 "user space cannot keep a stranger's FITHAW away, only tell of it"},
	{"guardian", "C5", "FIFREEZE and FITHAW give",
	 "nobody recorded since when a stranger's FIFREEZE is in force"},
	{"guardian", "C5", "FIFREEZE and FITHAW nest", ONE_FIFREEZE},
	{"guardian", "C5", "a hold nests within", ONE_FIFREEZE},
	{"guardian", "C5", "FIFREEZE outlives", ONE_FIFREEZE},
	{"guardian", "C5", "a hold begins and ends while device-mapper",
	 "FIFREEZE does not begin within another freeze"},
	{"guardian", "C8", "a waiter in poll",
	 "a socket reports a broken hold as EPOLLIN, a message that stays until the thaw"},
	{"guardian", "C9", "a freeze that is not complete", UNENDING},
	{"guardian", "C9", "writers that wait for a freeze which is given up", UNENDING},
	{"guardian", "C10", "force thaw drops every hold", ONE_FIFREEZE},
	{"guardian", "C12", "raw: ", "the calls of the kernel's own feature"},
	{"guardian", "C13", "SysRq-j thaws holds and FIFREEZE", ONE_FIFREEZE},
	{"guardian", "C14", "several filesystems on one",
	 "a device leads to one filesystem only, without a lock of the kernel's"},
	{"guardian", "C16", "", "fdinfo of a socket is the kernel's to write"},

	{"module", "C5", "FIFREEZE and FITHAW give",
	 "nobody recorded since when a stranger's FIFREEZE is in force"},
	{"module", "C5", "FIFREEZE and FITHAW nest",
	 "FITHAW drops its hold but fails when there are others", NULL, "7"},
	{"module", "C5", "every order",
	 "the block layer's freezes are not counted apart from FIFREEZE's"},
	{"module", "C5", "a hold nests within", ONE_HOLD, NULL, "6.6"},
	{"module", "C5", "FIFREEZE outlives", ONE_HOLD, NULL, "6.6"},
	{"module", "C5", "FITHAW of a stranger", ONE_HOLD, NULL, "6.6"},
	{"module", "C5", "a hold begins and ends while device-mapper", ONE_HOLD, NULL, "6.6"},
	{"module", "C9", "a freeze that is not complete", UNENDING},
	{"module", "C9", "writers that wait for a freeze which is given up", UNENDING},
	{"module", "C10", "force thaw drops every hold", ONE_HOLD, NULL, "6.6"},
	{"module", "C10", "force thaw of an unmounted FIFREEZE", NO_BTRFS, NULL, "7", "btrfs"},
	{"module", "C12", "raw: ", NO_BTRFS, NULL, "7", "btrfs"},
	{"module", "C13", "SysRq-j thaws holds and", ONE_HOLD, NULL, "6.6"},
	{"module", "C14", "a filesystem on two devices", ONE_DEVICE, NULL, "6.6"},
	{"module", "C14", "both devices stay", ONE_DEVICE, NULL, "6.6"},
	{"module", "C14", "both devices stay", NO_BTRFS, NULL, "7", "btrfs"},
	{"module", "C15", "killed while a writer keeps", UNENDING},
	{"module", "C13", "", "SysRq-j ends the holds of user space only", "6.6"},
	{"module", "C13", "SysRq-j thaws what is being", "SysRq-j leaves out what is being frozen"},
	{"module", "C17", "while the kernel writes",
	 "status does not know that the kernel writes under its hold"},
	{"module", "C18", "", "there are no tracepoints"},
};

static bool kernel_is_before(const char *release)
{
	struct utsname name;

	check(!uname(&name));
	return strverscmp(name.release, release) < 0;
}

const char *excuse(const char *engine, const struct test *test)
{
	for (size_t i = 0; i < ARRAY_SIZE(cannot); i++)
		if (!strcmp(cannot[i].engine, engine) && !strcmp(cannot[i].clause, test->clause) &&
		    !strncmp(cannot[i].test, test->what, strlen(cannot[i].test)) &&
		    (!cannot[i].from || !kernel_is_before(cannot[i].from)) &&
		    (!cannot[i].before || kernel_is_before(cannot[i].before)) &&
		    (!cannot[i].fstype || !strcmp(cannot[i].fstype, fstype())))
			return cannot[i].reason;
	return NULL;
}
