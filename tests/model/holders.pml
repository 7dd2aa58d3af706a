/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The holders of one superblock, after fs/freezefd.c and fs/super.c of the kernel
 * series: two freeze descriptors, FIFREEZE, the block layer, the kernel, a forced
 * thaw, an unmount, and a writer. Names are those of the code.
 *
 * Descriptor 0 has a deadline of T ticks, descriptor 1 has none. Time is counted
 * down: what the code has as a point in time is here how many ticks there are to it.
 *
 * Each MISTAKE is one that somebody could make in the code. tests/model/run says
 * which property has to find it.
 */
#ifndef MISTAKE
#define MISTAKE 0
#endif

/* Who there is besides descriptor 0: all at once would be too much. */
#define CLIENT	 1 /* descriptor 1 */
#define KERNEL	 2
#define FIFREEZE 4
#define BDEV	 8
#define FORCE	 16
#define UMOUNT	 32
#define WRITER	 64
#ifndef WITH
#define WITH (CLIENT + UMOUNT)
#endif
#ifndef REFUSALS
#define REFUSALS 0
#endif

#define T     1
#define NEVER 255

mtype:frozen = { SB_UNFROZEN, SB_FREEZE_WRITE, SB_FREEZE_PAGEFAULT, SB_FREEZE_FS, SB_FREEZE_COMPLETE };
mtype:hold = { NONE, HELD, EXPIRED, REVOKED };
mtype:errno = { OK, EBUSY, EINVAL, ETIME, ECANCELED, ESTALE, EIO };

/* Kinds of holders. */
#define FREEZE_HOLDER_KERNEL	0
#define FREEZE_HOLDER_USERSPACE 1
#define FREEZE_HOLDER_BDEV	2
#define FREEZE_HOLDER_FD	3

/* ---- struct super_block */

mtype:frozen frozen;	/* s_writers.frozen */
byte count[4];		/* s_writers.freeze_kcount, _ucount, _bcount, _fdcount */
byte s_active;		/* 0: shut down */
bool s_umount;		/* locked for writing */
bool rw_sem;		/* new writers wait */
byte writers;		/* those under way */
byte frozen_for;	/* ticks since s_frozen_since, T at the most */
byte refusals;		/* so often ->unfreeze_fs() may still fail */

typedef freezefd {
	bool lock;
	mtype:hold hold;
	byte timeout_ns;	/* of the next hold, in ticks; 0: none */
	byte start;	/* ticks since the call, T at the most */
	byte since;	/* ticks since the hold began, T at the most */
	byte until;	/* ticks to when its freeze is given up */
	byte deadline;	/* ticks to the end of its hold */
	byte timer;	/* ticks until it fires; NEVER: not started */
	bool work;	/* queued */
	bool running;	/* the work */
	bool closing, released;
};
freezefd ffd[2];

/* ---- What the properties look at, and no code does. */

bool freezing[2];	/* the client's freeze is under way */
bool stopped[2];	/* the client never does anything again */
bool exits[2];		/* the client's descriptor is being closed */
bool told[2];		/* the client knows that it holds, and has not let go */
bool holds[4];		/* so does the kind of holder */
byte age;		/* ticks for which descriptor 0's deadline has to count, T at the most */
byte at_work;		/* so many calls are under way */
bool refused;

#define fd_held	   (ffd[0].hold == HELD || ffd[1].hold == HELD)
#define other_held (holds[FREEZE_HOLDER_KERNEL] || holds[FREEZE_HOLDER_USERSPACE] || holds[FREEZE_HOLDER_BDEV])

/* Never frozen with no holder. */
#define HOLDER (frozen == SB_FREEZE_COMPLETE && at_work == 0 -> fd_held || other_held)
/* Never thawed with an unbroken hold. Nobody sees a thawed filesystem as held either. */
#define UNBROKEN (fd_held || other_held -> frozen == SB_FREEZE_COMPLETE)
/* Who has a hold that was broken is told. */
#define TELLS ((told[0] -> ffd[0].hold != NONE) && (told[1] -> ffd[1].hold != NONE))
/* Who holds beyond his deadline is about to be thawed. That no deadline is too early is asserted below. */
#define ON_TIME (ffd[0].hold == HELD && ffd[0].timeout_ns && age == T -> ffd[0].lock || ffd[0].work || ffd[0].running || refused)
ltl holder { [] HOLDER }
ltl unbroken { [] UNBROKEN }
ltl tells { [] TELLS }
ltl on_time { [] ON_TIME }
ltl safety { [] (HOLDER && UNBROKEN && TELLS && ON_TIME && (frozen == SB_UNFROZEN && !s_umount -> !rw_sem)) }
/* A deadline always ends it: the hold of who does nothing, and the call that waits for a writer. */
ltl deadline { [] (stopped[0] && ffd[0].hold == HELD && ffd[0].timeout_ns -> <> (ffd[0].hold != HELD)) }
ltl returns { [] (freezing[0] && ffd[0].timeout_ns -> <> !freezing[0]) }
/* The last close always thaws. */
ltl closes { [] (exits[0] -> <> (ffd[0].hold != HELD)) }
/* While nothing is frozen, writers run. */
#define WRITES (frozen == SB_UNFROZEN && !s_umount -> !rw_sem)
ltl writes { [] WRITES }

/* ---- fs/super.c */

/* Takes long: whoever does not need the lock goes on meanwhile. */
bool disk;
inline io()
{
	disk = true;
	!disk
}

active proctype Disk()
{
end:	do
	:: disk -> disk = false
	od
}

inline deactivate_locked_super()
{
	atomic {
		s_active--;
		assert(s_active > 0 || frozen == SB_UNFROZEN);
		s_umount = false
	}
}

inline deactivate_super()
{
	atomic {
		s_active > 1 || !s_umount;
		s_active--;
		assert(s_active > 0 || frozen == SB_UNFROZEN)
	}
}

#define freeze_holds	 (count[0] + count[1] + count[2] + count[3])
#define freeze_under_way (frozen != SB_UNFROZEN && frozen != SB_FREEZE_COMPLETE)
#if MISTAKE == 5
/* As it was before the series: the block layer and FIFREEZE share a count. */
#define freeze_count(who) count[(who == FREEZE_HOLDER_BDEV -> FREEZE_HOLDER_USERSPACE : who)]
#else
#define freeze_count(who) count[who]
#endif
#define may_freeze(who) (who == FREEZE_HOLDER_FD || who == FREEZE_HOLDER_BDEV || count[who] == 0)
/* Of who has a deadline: the others wait for ever. */
#if MISTAKE == 7
#define time_is_up(who, i) false
#else
#define time_is_up(who, i) (who == FREEZE_HOLDER_FD && ffd[i].until == 0)
#endif

inline set_until(who, i)
{
	if
	:: who == FREEZE_HOLDER_FD && ffd[i].timeout_ns -> ffd[i].until = ffd[i].timeout_ns
	:: else
	fi
}

inline freeze_complete(who)
{
	freeze_count(who)++;
	holds[who] = (who != FREEZE_HOLDER_FD);
	frozen = SB_FREEZE_COMPLETE;
	s_umount = false;
	/* The reference stays: all holders share it. */
	s_active = s_active - (MISTAKE == 11)
}

/*
 * With an active reference of the caller's, and another one to keep. The first sync and the grace
 * periods are over, during which writers ran.
 */
inline freeze_super(who, i)
{
	atomic { !s_umount -> set_until(who, i) }
	do
	:: atomic { frozen == SB_FREEZE_COMPLETE && !s_umount ->
		if
		:: may_freeze(who) ->
			freeze_count(who)++;
			holds[who] = (who != FREEZE_HOLDER_FD);
			error = OK;
			age = (who == FREEZE_HOLDER_FD && i == 0 && frozen_for < age -> frozen_for : age)
		:: else -> error = EBUSY
		fi;
		deactivate_locked_super();
		break }
	/* wait_for_partially_frozen() */
	:: atomic { freeze_under_way && time_is_up(who, i) && !s_umount ->	/* not: Other */
		assert(age == T);
		error = ETIME;
		deactivate_locked_super();
		break }
	:: atomic { frozen == SB_UNFROZEN && !s_umount ->
		age = (who == FREEZE_HOLDER_FD && i == 0 -> 0 : age);
		frozen_for = 0;
		set_until(who, i);
		frozen = SB_FREEZE_WRITE;
		rw_sem = true;
		s_umount = (MISTAKE == 6) };
		/* sb_wait_write() */
		if
		:: atomic { (writers == 0 || MISTAKE == 14) && (!s_umount || MISTAKE == 6) ->
			s_umount = true;
			/* sync_filesystem() */
			frozen = SB_FREEZE_PAGEFAULT };
			atomic { frozen = SB_FREEZE_FS;
			if
			:: error = OK
			:: error = EIO	/* of that sync, or of ->freeze_fs() */
			fi }
		:: atomic { time_is_up(who, i) && !s_umount ->	/* not: Other */
			assert(age == T);
			s_umount = true;
			error = ETIME }
		fi;
		atomic {
		if
		:: error == OK -> freeze_complete(who)
		:: else ->
			/* undo */
			rw_sem = (MISTAKE == 15);
			frozen = SB_UNFROZEN;
			frozen_for = 0;
			deactivate_locked_super()
		fi;
		break }
	od
}

/* With s_umount, which it releases. In an atomic sequence, which the I/O of the thaw breaks. */
inline thaw_super_locked(who)
{
	if
	:: frozen != SB_FREEZE_COMPLETE || freeze_count(who) == 0 -> error = EINVAL; s_umount = false
	:: else -> freeze_count(who)--;
		if
		:: (freeze_holds > 0 || MISTAKE == 17) && MISTAKE != 2 -> error = OK; s_umount = false
		:: else ->
			s_umount = true;
			io();
			if
			:: refusals > 0 ->
				refusals--;
				refused = true;
				freeze_count(who)++;
				error = EIO;
				s_umount = false
			:: skip ->
				frozen = SB_UNFROZEN;
				frozen_for = 0;
				rw_sem = false;
				error = OK;
				deactivate_locked_super()
			fi
		fi
	fi
}

/* ---- fs/freezefd.c */

inline hrtimer_start(i, ticks)
{
	ffd[i].timer = ticks;
	if
	:: ffd[i].timer == 0 -> ffd[i].timer = NEVER; ffd[i].work = true
	:: else
	fi
}

/* In an atomic sequence. */
inline freezefd_drop(i, to)
{
	!s_umount;
	s_umount = true;
	ffd[i].hold = (MISTAKE == 10 -> HELD : to);
	thaw_super_locked(FREEZE_HOLDER_FD);
	if
	:: MISTAKE == 10 -> io()	/* not: Client Worker Force */
	:: else
	fi;
	ffd[i].hold = (error == OK -> to : HELD);
	age = (i == 0 && error == OK -> 0 : age)
}

inline freezefd_set_deadline(i)
{
	ffd[i].deadline = (ffd[i].timeout_ns -> ffd[i].timeout_ns - ffd[i].since : NEVER);
	ffd[i].since = 0
}

#define broken(i) (ffd[i].hold == EXPIRED -> ETIME : ECANCELED)

inline freezefd_freeze(i)
{
	if
	:: atomic { ffd[i].hold == HELD -> error = EBUSY }
	:: atomic { ffd[i].hold == EXPIRED || ffd[i].hold == REVOKED -> error = broken(i) }
	:: atomic { ffd[i].hold == NONE && s_active == 0 -> error = ESTALE }
	:: atomic { ffd[i].hold == NONE && s_active > 0 -> s_active = s_active + 2 };
		freeze_super(FREEZE_HOLDER_FD, i);
		atomic {
		if
		:: error == OK ->
			/* From when it stopped writers, or found them stopped. */
#if MISTAKE == 3
			ffd[i].since = ffd[i].start;
#elif MISTAKE == 18
			ffd[i].since = 0;
#else
			ffd[i].since = (ffd[i].start < frozen_for -> ffd[i].start : frozen_for);
#endif
			freezefd_set_deadline(i);
			ffd[i].hold = HELD;
			hrtimer_start(i, ffd[i].deadline);
			if
			:: ffd[i].deadline == 0 ->	/* not: Client(1) */
				assert(age == T);
				freezefd_drop(i, NONE);
				error = (error == OK -> ETIME : error)
			:: else
			fi
		:: else
		fi;
		deactivate_super() }
	fi
}

/* In an atomic sequence. */
inline freezefd_thaw(i)
{
	if
	:: ffd[i].hold == HELD -> freezefd_drop(i, NONE)
	:: ffd[i].hold == EXPIRED || ffd[i].hold == REVOKED -> error = broken(i); ffd[i].hold = NONE
	:: ffd[i].hold == NONE -> error = EINVAL
	fi
}

/* Renews the deadline. */
inline freezefd_timeout(i)
{
	if
	:: ffd[i].hold == HELD -> age = 0; freezefd_set_deadline(i);
		ffd[i].timer = NEVER;
#if MISTAKE != 16
		hrtimer_start(i, ffd[i].deadline)
#endif
	:: else
	fi
}

/* ---- Who there is */

#ifndef CALLS
#define CALLS 1
#endif

proctype Client(byte i)
{
	byte calls = CALLS;
	mtype:errno error;

	do
	:: calls > 0 ->
		calls--;
		if
		:: atomic { !ffd[i].lock -> ffd[i].lock = true; at_work++; freezing[i] = true }
			freezefd_freeze(i);
			atomic { told[i] = told[i] || error == OK;
				age = (i == 0 && ffd[i].hold == NONE -> 0 : age);
				freezing[i] = false;
				ffd[i].until = NEVER;
				ffd[i].start = 0;
				ffd[i].lock = false;
				at_work-- }
		:: atomic { !ffd[i].lock -> ffd[i].lock = true; at_work++; told[i] = false;
			freezefd_thaw(i);
			told[i] = ffd[i].hold != NONE;
			age = (i == 0 && !told[i] -> 0 : age);
			ffd[i].lock = false;
			at_work-- }
		:: atomic { ffd[i].timeout_ns && !ffd[i].lock -> freezefd_timeout(i) }	/* not: Client(1) */
		fi
	:: stopped[i] = true; goto end_stopped
	:: break
	od;

	/* freezefd_flush() */
	atomic { exits[i] = true; told[i] = false; at_work++; ffd[i].closing = true; ffd[i].work = (MISTAKE != 13) }
	/* Another file of the task, deleted on this filesystem, is released first. */
	if
	:: skip ->
end_deleted:	!rw_sem
	:: skip
	fi;
	/* freezefd_release() */
	atomic { !ffd[i].lock -> ffd[i].lock = true;
		error = OK;
		if
		:: ffd[i].hold == HELD && MISTAKE != 1 -> freezefd_drop(i, NONE)
		:: else
		fi;
		ffd[i].lock = false }
	/* disable_work_sync(), hrtimer_cancel() */
	atomic { !ffd[i].running ->
		ffd[i].timer = NEVER;
		ffd[i].released = (error != OK);
		ffd[i].work = (ffd[i].released && MISTAKE != 9);
		at_work-- };
end_stopped:
	false
}

/* freezefd_work() */
proctype Worker(byte i)
{
	mtype:errno error;
	mtype:hold to;

end:	do
	:: atomic { ffd[i].work -> ffd[i].work = false; ffd[i].running = true; at_work++;
		to = (ffd[i].closing -> NONE : EXPIRED) }
		atomic { !ffd[i].lock -> ffd[i].lock = true;
		if
		:: ffd[i].hold != HELD
		:: ffd[i].hold == HELD && to == EXPIRED && ffd[i].deadline > 0 && MISTAKE != 12 -> hrtimer_start(i, ffd[i].deadline)
		:: else ->
			assert(to == NONE || age == T);
			to = (MISTAKE == 8 -> NONE : to);
			freezefd_drop(i, to);
			if
			:: error != OK && MISTAKE != 9 -> hrtimer_start(i, 1)
			:: else
			fi
		fi;
		error = OK;
		to = NONE;
		ffd[i].lock = false;
		ffd[i].running = false;
		at_work-- }
	od
}

/* FIFREEZE and FITHAW, a suspend and resume of the device, the sleep of the machine. */
proctype Other(byte who)
{
	mtype:errno error;

	if
	:: atomic { s_active > 0 -> s_active = s_active + 2; at_work++ }
	:: s_active == 0 -> goto end_stopped
	fi;
	freeze_super(who, 0);
	atomic { deactivate_super(); at_work-- }
	if
	:: error == OK
	/* FITHAW of who has not frozen. */
	:: error != OK && who == FREEZE_HOLDER_USERSPACE
	:: goto end_stopped
	fi;
	if
	:: atomic { s_active > 0 -> s_active++; at_work++; holds[who] = false }
	:: s_active == 0 -> goto end_stopped
	fi;
	atomic { !s_umount -> s_umount = true;
		thaw_super_locked(who);
		holds[who] = (error == EIO);
		deactivate_super();
		at_work-- }
end_stopped:
	false
}

/* super_thaw_force() */
proctype Force()
{
	mtype:errno error = OK;
	byte i, who;

	if
	:: atomic { s_active > 0 -> s_active++; at_work++ }
	:: s_active == 0 -> goto end_stopped
	fi;
	do
	:: !freeze_under_way ->
		/* freezefd_revoke() */
		do
		:: atomic { error == OK && fd_held -> i = (ffd[0].hold == HELD -> 0 : 1) }
			atomic { !ffd[i].lock -> ffd[i].lock = true;
			if
			:: ffd[i].hold == HELD -> freezefd_drop(i, REVOKED)
			:: else
			fi;
			ffd[i].lock = false }
		:: atomic { error != OK || !fd_held -> break }
		od;
		if
		:: error != OK -> break
		:: else -> who = FREEZE_HOLDER_USERSPACE
		fi;
		do
		:: atomic { who <= FREEZE_HOLDER_BDEV && error != EIO && !s_umount -> s_umount = true;
			holds[who] = holds[who] && count[who] == 0;
			thaw_super_locked(who);
			holds[who] = holds[who] || error == EIO;
			who = (error == EINVAL -> who + 1 : who) }
		:: atomic { who > FREEZE_HOLDER_BDEV || error == EIO -> break }
		od;
#if MISTAKE == 4
		atomic { !s_umount -> s_umount = true;
			thaw_super_locked(FREEZE_HOLDER_KERNEL) };
#endif
		/* EBUSY: again. */
		if
		:: atomic { error == EIO || count[FREEZE_HOLDER_FD] == 0 -> break }
		:: atomic { else -> error = OK; who = 0 }
		fi
	od;
	atomic { deactivate_super(); at_work-- };
end_stopped:
	false
}

proctype Umount()
{
	deactivate_super()
}

proctype Writer()
{
	/* sb_start_write() */
end:	atomic { !rw_sem -> writers++ }
	if
	:: skip
	/* It may need s_umount, or be one that waits for the client that freezes. */
	:: skip -> !s_umount
	:: skip -> !freezing[0]
	fi;
	atomic { assert(frozen != SB_FREEZE_COMPLETE); writers-- }
}

#define tick(n) n = (n > 0 && n != NEVER -> n - 1 : n)

proctype Clock()
{
end:	do
	/* Only while something counts. */
	:: d_step { ffd[0].timer != NEVER || ffd[1].timer != NEVER || (freezing[0] && (ffd[0].start < T || (ffd[0].until > 0 && ffd[0].until != NEVER))) ->
		tick(ffd[0].until);
		tick(ffd[0].deadline);
		tick(ffd[0].timer);
		tick(ffd[1].timer);
		if
		:: ffd[0].timer == 0 -> ffd[0].timer = NEVER; ffd[0].work = true
		:: else
		fi;
		if
		:: ffd[1].timer == 0 -> ffd[1].timer = NEVER; ffd[1].work = true
		:: else
		fi;
		ffd[0].start = (freezing[0] && ffd[0].start < T -> ffd[0].start + 1 : ffd[0].start);
		frozen_for = (frozen != SB_UNFROZEN && frozen_for < T -> frozen_for + 1 : frozen_for);
		age = ((ffd[0].hold != NONE || freezing[0]) && age < T -> age + 1 : age) }
	od
}

init {
	atomic {
		frozen = SB_UNFROZEN;
		s_active = 1;
		refusals = REFUSALS;
		age = 0;
		ffd[0].hold = NONE; ffd[0].timeout_ns = T; ffd[0].until = NEVER; ffd[0].deadline = NEVER; ffd[0].timer = NEVER;
		ffd[1].hold = NONE; ffd[1].until = NEVER; ffd[1].deadline = NEVER; ffd[1].timer = NEVER;
		run Client(0); run Worker(0); run Clock();
		if :: WITH & CLIENT -> run Client(1); run Worker(1) :: else fi;
		if :: WITH & KERNEL -> run Other(FREEZE_HOLDER_KERNEL) :: else fi;
		if :: WITH & FIFREEZE -> run Other(FREEZE_HOLDER_USERSPACE) :: else fi;
		if :: WITH & BDEV -> run Other(FREEZE_HOLDER_BDEV) :: else fi;
		if :: WITH & FORCE -> run Force() :: else fi;
		if :: WITH & UMOUNT -> run Umount() :: else fi;
		if :: WITH & WRITER -> run Writer() :: else fi
	}
}
