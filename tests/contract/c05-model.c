// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * C5: every order of steps that freeze, thaw, mount and unmount, checked against a model.
 *
 * A step is one of FIFREEZE and FITHAW, the suspension and the resumption of the device, the
 * freeze and the thaw of a descriptor, and mount and unmount. In each state the step of each pair
 * that changes it can be the next; the other one is tried as well, and must fail or do nothing.
 */
#include <linux/dm-ioctl.h>

#include "contract.h"

enum { FIFREEZES, SUSPENDS, DESCRIPTOR, MOUNT, PAIRS };

struct model {
	bool on[PAIRS];
	bool alive; /* Is there a superblock? */
};

static const char *device, *path;
static int control, bdev, fd = -1;
static char order[64];

static int suspend(bool on)
{
	struct dm_ioctl dm = {
		.version = {DM_VERSION_MAJOR},
		.data_size = sizeof(dm),
		.flags = on ? DM_SUSPEND_FLAG : 0,
		.name = DM,
	};

	return ioctl(control, DM_DEV_SUSPEND, &dm) ? -errno : 0;
}

static int by_path(unsigned long request)
{
	int fs = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret = ioctl(fs, request, 0) ? -errno : 0;

	close(fs);
	return ret;
}

static int descriptor(bool on)
{
	int ret;

	if (!on) {
		ret = fd < 0 ? -EBADF : freezefd_thaw(fd);
		if (!ret) {
			close(fd);
			fd = -1;
		}
		return ret;
	}
	if (fd >= 0)
		return freezefd_freeze(fd);
	ret = freezefd_open(bdev, NULL);
	if (ret >= 0)
		fd = ret;
	return ret < 0 ? ret : 0;
}

static int step(int pair, bool on)
{
	switch (pair) {
	case FIFREEZES:
		return by_path(on ? FIFREEZE : FITHAW);
	case SUSPENDS:
		return suspend(on);
	case DESCRIPTOR:
		return descriptor(on);
	default:
		if (!on)
			return umount2(path, 0) ? -errno : 0;
		return mount(device, path, fstype(), 0, NULL) ? -errno : 0;
	}
}

static void expect(long long got, long long want, const char *what)
{
	if (got != want)
		fail_at(__FILE__, __LINE__, "after%s: %s is %lld, want %lld", order, what, got,
			want);
}

static void check_model(const struct model *model)
{
	struct freezefd_status status;
	int ret = freezefd_status(bdev, &status);
	const bool frozen = model->on[FIFREEZES] || model->on[SUSPENDS] || model->on[DESCRIPTOR];

	expect(ret, model->alive ? 0 : -ENODEV, "status");
	if (ret)
		return;
	expect(status.fd_holds, model->on[DESCRIPTOR], "fd_holds");
	expect(status.bdev_holds, model->on[SUSPENDS], "bdev_holds");
	expect(status.user_holds, model->on[SUSPENDS] + model->on[FIFREEZES], "user_holds");
	expect(status.state, frozen ? FREEZE_STATE_FROZEN : FREEZE_STATE_THAWED, "state");
}

/* Can the step be made that changes this? */
static bool effective(const struct model *model, int pair)
{
	/* FIFREEZE and FITHAW go by path. */
	if (pair == FIFREEZES)
		return model->on[MOUNT];
	/* To freeze there must be something. */
	if (pair == DESCRIPTOR)
		return model->alive;
	/* A suspended device without a filesystem cannot be mounted. */
	if (pair == MOUNT && !model->on[MOUNT])
		return model->alive || !model->on[SUSPENDS];
	return true;
}

static void take(struct model *model, int pair)
{
	static const char *const names[PAIRS][2] = {
		[FIFREEZES] = {"FITHAW", "FIFREEZE"},
		[SUSPENDS] = {"resume", "suspend"},
		[DESCRIPTOR] = {"thaw", "freeze"},
		[MOUNT] = {"umount", "mount"},
	};
	const bool on = !model->on[pair];

	snprintf(order + strlen(order), sizeof(order) - strlen(order), " %s", names[pair][on]);
	expect(step(pair, on), 0, "the last");
	model->on[pair] = on;
	/* Frozen or mounted it lives; suspended without it, the block layer alone counts. */
	if (pair == MOUNT && on)
		model->alive = true;
	model->alive = model->alive && (model->on[MOUNT] || model->on[FIFREEZES] ||
					model->on[DESCRIPTOR] || model->on[SUSPENDS]);
}

/* The steps that cannot be: they must say so, and change nothing. */
static void check_refusals(const struct model *model)
{
	if (model->on[MOUNT] && model->on[FIFREEZES])
		expect(step(FIFREEZES, true), -EBUSY, "a second FIFREEZE");
	else if (model->on[MOUNT])
		expect(step(FIFREEZES, false), -EINVAL, "FITHAW");
	if (model->on[DESCRIPTOR])
		expect(step(DESCRIPTOR, true), -EBUSY, "a second freeze");
	else if (!model->alive)
		expect(step(DESCRIPTOR, true), -ENODEV, "a freeze of nothing");
	/* btrfs reads from the device first, and so waits for the resume. */
	if (!model->on[MOUNT] && !model->alive && model->on[SUSPENDS] && strcmp(fstype(), "btrfs"))
		expect(step(MOUNT, true), -EBUSY, "a mount of a suspended device");
	check_model(model);
}

/* Back to where a sequence began; and it must be possible to get there. */
static void undo(struct model *model)
{
	for (int pair = SUSPENDS; pair <= MOUNT; pair++)
		if (model->on[pair] != (pair == MOUNT))
			take(model, pair);
	if (model->on[FIFREEZES])
		take(model, FIFREEZES);
	check_model(model);
}

/* A superblock that holds nothing goes away a moment after the call that let it go. */
static void wait_gone(const struct model *model)
{
	struct freezefd_status status;

	if (!model->alive)
		wait_until(freezefd_status(bdev, &status) == -ENODEV);
}

TEST(C5, "every order of freezes, thaws, suspensions, mounts and unmounts leaves what a model says")
{
	const char *deep = getenv("FREEZEFD_TEST_DEPTH");
	/* What the filesystem does itself makes no difference. */
	const unsigned int usual = strcmp(fstype(), "ext4") ? 3 : 6;
	const unsigned int depth = deep && *deep ? strtoul(deep, NULL, 10) : usual;
	struct model model = {.on = {[MOUNT] = true}, .alive = true};
	unsigned int sequences = 1, run = 0;

	if (is_guardian(dir))
		skip("the kernel counts FIFREEZE and the block layer together");
	time_limit(600);
	device = dm_over(scratch(0));
	path = new_fs(device, "dm");
	bdev = open_dev(device);
	control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	check(control >= 0);
	for (unsigned int i = 0; i < depth; i++)
		sequences *= PAIRS;
	for (unsigned int n = 0; n < sequences; n++) {
		unsigned int left = sequences, pair;

		*order = 0;
		do {
			left /= PAIRS;
			pair = n / left % PAIRS;
			if (!effective(&model, pair))
				break;
			take(&model, pair);
			wait_gone(&model);
			check_model(&model);
			check_refusals(&model);
		} while (left > 1);
		undo(&model);
		/* No other order that begins like this can go on, either. */
		n += left - 1;
		run += left == 1;
	}
	note("%u orders of %u steps", run, depth);
	check(!umount2(path, 0));
	wait_until(try_open_excl(device) == 0);
}
