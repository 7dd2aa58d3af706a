/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guardian of one filesystem, after guardian/ and lib/guardian/: the guardian's
 * loop, its thread, the watcher, two clients, a stranger with FITHAW and FIFREEZE, a
 * thaw by force, and who kills one of the two processes. Names are those of the code.
 *
 * A thaw is answered when it begins. Client 0 has a deadline. When it is due nobody counts: at any time, once it runs.
 *
 * Each MISTAKE is one that somebody could make in the code. tests/model/run says
 * which property has to find it.
 */
#ifndef MISTAKE
#define MISTAKE 0
#endif

/* Who there is besides client 0, and what may happen. */
#define CLIENT	 1 /* client 1 */
#define STRANGER 2
#define FORCE	 4
#define KILL	 8  /* of the guardian or of the watcher */
#define HANG	 16 /* the loop waits for the thaw: it was sent a file deleted on what is frozen */
#define SLOW	 32 /* FIFREEZE may wait for a writer for ever */
#ifndef WITH
#define WITH CLIENT
#endif

mtype:state_ = { THAWED, FREEZING, FROZEN, THAWING, FORCING };
mtype:hold_ = { NONE, HELD, EXPIRED, REVOKED };
mtype:errno = { NO_ANSWER, OK, EBUSY, ETIME, ECANCELED, EINVAL };
mtype:op_ = { NO_REQUEST, GUARDIAN_OPEN, GUARDIAN_FREEZE, GUARDIAN_THAW };
mtype:work_ = { NO_WORK, WORK_FREEZE, WORK_THAW, WORK_LEAVE, WORK_FORCE };
mtype:whose = { NOBODY, OURS, STRANGERS };

/* The kernel: one hold for user space. */
mtype:whose frozen;

/* struct common */
bool root;
bool stopped_ns;

/* struct guardian and the thread */
mtype:state_ state;
mtype:work_ work;
mtype:errno result;
bool done;
bool listener;

/* Of processes. */
bool guardian_killed, loop_ended, thread_ended, watcher_lives;
#define guardian_ended (loop_ended && thread_ended)
#define sockets_end    (guardian_ended && !watcher_lives)
bool alone;		/* the guardian has seen the watcher's end */
bool hangs;		/* the loop */

typedef struct_hold {
	bool there;	/* the guardian has the other end */
	bool freezing;
	mtype:hold_ hold;
	bool due	/* its deadline has passed */
};
struct_hold hold[2];

/* The sockets. */
mtype:op_ request[2];
mtype:errno reply[2];
bool waiter[2];		/* the client waits for the answer */
bool closed[2];
bool force_wanted, force_done;

/* ---- What the properties look at, and no code does. */

bool has[2];		/* the client was given a hold and has not let go */
bool torn[2];		/* and that was broken meanwhile */
bool stopped[2];	/* the client never does anything again */

#define keeps(i) (has[i] && hold[i].hold == HELD && !guardian_killed && !alone)

/* Never frozen with no holder, for longer than a thaw takes, whoever was killed. */
ltl holder { [] (frozen == OURS && !keeps(0) && !keeps(1) -> <> (frozen != OURS || keeps(0) || keeps(1))) }
/* Never thawed with a hold, but that is told. That no thaw says 0 of a torn hold is asserted below. */
ltl tells { [] (has[0] && frozen != OURS -> <> (!has[0] || hold[0].hold != HELD || sockets_end)) }
/* A deadline always ends it: the hold of who does nothing, and the call. */
ltl deadline { [] (stopped[0] && hold[0].hold == HELD && !guardian_killed -> <> (hold[0].hold != HELD || guardian_killed)) }
ltl returns { [] (waiter[0] -> <> !waiter[0]) }
/* Who is alone does not begin to hold: nobody would thaw after its end. */
#define GUARDED (alone && !guardian_killed -> hold[0].hold != HELD && hold[1].hold != HELD)
ltl guarded { [] GUARDED }

/* ---- The kernel */

inline tear()
{
	torn[0] = torn[0] || has[0];
	torn[1] = torn[1] || has[1]
}

/* ---- guardian/work.c */

proctype Thread()
{
end:	do
	:: atomic { guardian_killed || loop_ended -> break }
	/* The mount and syncfs() are done. */
	:: atomic { work == WORK_FREEZE && !guardian_killed -> root = (MISTAKE != 10) };
		atomic { stopped_ns = true;
		if
		:: frozen != NOBODY -> result = EBUSY
		:: else -> result = OK
		fi };
		/* FIFREEZE waits for writers, and a signal does not end that. */
		if
		:: result == OK && (WITH & SLOW) ->
end_fifreeze:		false
		:: atomic { result == OK ->
			result = (frozen == NOBODY -> OK : EBUSY);
			frozen = (frozen == NOBODY -> OURS : frozen) }
		:: result != OK
		fi;
		atomic {
		if
		:: guardian_killed -> break
		:: else
		fi;
		root = (result == OK);
		work = NO_WORK;
		done = true }
	:: atomic { (work == WORK_THAW || work == WORK_LEAVE) && !guardian_killed ->
		if
		:: MISTAKE == 13 -> root = false
		:: else
		fi };
		atomic {
		if
		:: guardian_killed -> break
		:: !guardian_killed && (work == WORK_THAW || MISTAKE == 9) ->
			/* A stranger who froze meanwhile keeps its hold. */
			assert(frozen != STRANGERS);
			frozen = NOBODY;
			tear()
		:: !guardian_killed && work == WORK_LEAVE && MISTAKE != 9
		fi };
		atomic {
		if
		:: guardian_killed -> break
		:: else
		fi;
		root = false;
		work = NO_WORK;
		result = OK;
		done = true }
	:: atomic { work == WORK_FORCE && !guardian_killed -> frozen = NOBODY; tear() };
		atomic {
		if
		:: guardian_killed -> break
		:: else
		fi;
		root = false;
		work = NO_WORK;
		result = OK;
		done = true }
	od;
	thread_ended = true
}

/* ---- guardian/state.c */

inline answer(i, error)
{
	if
	:: waiter[i] -> reply[i] = error
	:: else
	fi
}

inline revoke(i)
{
	if
	:: hold[i].hold == HELD -> hold[i].hold = REVOKED; hold[i].due = false
	:: else
	fi
}

inline revoke_all()
{
	revoke(0);
	revoke(1)
}

/* Its requests end with the socket. */
inline free_hold(i)
{
	answer(i, ECANCELED);
	request[i] = (request[i] == GUARDIAN_OPEN -> GUARDIAN_OPEN : NO_REQUEST);
	hold[i].there = false;
	hold[i].freezing = false;
	hold[i].due = false;
	hold[i].hold = NONE
}

#define is_wanted (hold[0].freezing || hold[0].hold == HELD || hold[1].freezing || hold[1].hold == HELD)

inline start_work(what)
{
	work = what;
	stopped_ns = (what == WORK_FREEZE -> false : stopped_ns);
	hold[0].due = (what == WORK_FREEZE -> false : hold[0].due);
	state = (what == WORK_FREEZE -> FREEZING : (what == WORK_FORCE -> FORCING : THAWING))
}

#define stranger_seen (MISTAKE != 8 && state == FROZEN && frozen != OURS)

inline look_for_strangers()
{
	if
	:: stranger_seen -> revoke_all(); start_work(WORK_LEAVE)
	:: else
	fi
}

/* Of client 0 alone. It counts from when writers are stopped. */
#define deadline_runs (hold[0].hold == HELD || (hold[0].freezing && (MISTAKE == 3 || (stopped_ns && state != THAWED))))

inline check_deadlines()
{
	if
	:: hold[0].due && hold[0].freezing && MISTAKE != 4 ->
		/* give_up() */
		assert(stopped_ns);
		hold[0].freezing = false;
		hold[0].due = false;
		answer(0, ETIME)
	:: hold[0].due && hold[0].hold == HELD -> hold[0].hold = EXPIRED; hold[0].due = false
	:: else
	fi
}

inline grant(i)
{
	if
	:: hold[i].freezing ->
		hold[i].freezing = false;
		if
		:: waiter[i] || MISTAKE == 11 ->
			answer(i, OK);
			hold[i].hold = HELD;
			has[i] = waiter[i];
			torn[i] = false
		:: else -> hold[i].due = false
		fi
	:: else
	fi
}

inline freeze_failed(i)
{
	if
	:: hold[i].freezing -> hold[i].freezing = false; hold[i].due = false; answer(i, result)
	:: else
	fi
}

inline work_done()
{
	done = false;
	if
	:: state == FREEZING ->
		state = (result == OK -> FROZEN : THAWED);
		check_deadlines();
		if
		:: result != OK -> freeze_failed(0); freeze_failed(1)
		:: else
		fi
	:: state == FORCING -> force_wanted = false; force_done = true; state = THAWED
	:: else -> state = THAWED
	fi
}

#define can_advance (state == THAWED && (force_wanted || is_wanted) || state == FROZEN && (force_wanted || !is_wanted || hold[0].freezing || hold[1].freezing))

inline advance()
{
	if
	:: (state == THAWED || state == FROZEN) && force_wanted -> start_work(WORK_FORCE)
	:: state == FROZEN && !force_wanted ->
		grant(0);
		grant(1);
		if
		:: is_wanted || MISTAKE == 1
		:: else -> start_work(WORK_THAW)
		fi
	:: state == THAWED && !force_wanted && is_wanted -> start_work(WORK_FREEZE)
	:: else
	fi
}

/* ---- guardian/requests.c */

inline ask_freeze(i)
{
	if
	:: hold[i].hold == NONE && !hold[i].freezing -> hold[i].freezing = true
	:: hold[i].hold == HELD || hold[i].freezing -> answer(i, EBUSY)
	:: hold[i].hold == EXPIRED -> answer(i, ETIME)
	:: hold[i].hold == REVOKED -> answer(i, ECANCELED)
	fi
}

inline ask_thaw(i)
{
	if
	:: hold[i].hold == EXPIRED -> answer(i, ETIME); hold[i].hold = NONE
	:: hold[i].hold == REVOKED -> answer(i, ECANCELED); hold[i].hold = NONE
	:: hold[i].hold == NONE -> answer(i, EINVAL)
	:: hold[i].hold == HELD -> hold[i].hold = NONE; hold[i].due = false; answer(i, OK);
		if
		:: MISTAKE == 2 && state == FROZEN -> start_work(WORK_THAW)
		:: else
		fi
	fi
}

inline on_request(i)
{
	look_for_strangers();
	if
	:: request[i] == GUARDIAN_OPEN && (listener || MISTAKE == 14) -> hold[i].there = true; ask_freeze(i)
	:: request[i] == GUARDIAN_OPEN && !(listener || MISTAKE == 14) -> answer(i, EBUSY)	/* EAGAIN */
	:: request[i] == GUARDIAN_FREEZE -> ask_freeze(i)
	:: request[i] == GUARDIAN_THAW -> ask_thaw(i)
	fi;
	request[i] = NO_REQUEST
}

/* ---- guardian/loop.c */

#define event (request[0] != NO_REQUEST || request[1] != NO_REQUEST || (hold[0].there && closed[0]) || (hold[1].there && closed[1]) || done || (!watcher_lives && !alone))
#define is_idle (!hold[0].there && !hold[1].there && state == THAWED && !force_wanted)

proctype Guardian()
{
end:	do
	:: atomic { guardian_killed -> break }
	:: atomic { !guardian_killed && (event || hold[0].due || stranger_seen || can_advance) ->
		check_deadlines();
		look_for_strangers() };
		do
		:: atomic { !guardian_killed && request[0] != NO_REQUEST -> on_request(0) }
		:: atomic { !guardian_killed && request[1] != NO_REQUEST -> on_request(1) }
		:: atomic { !guardian_killed && hold[0].there && closed[0] -> free_hold(0) }
		:: atomic { !guardian_killed && hold[1].there && closed[1] -> free_hold(1) }
		:: atomic { !guardian_killed && done -> work_done() }
		:: atomic { !guardian_killed && !watcher_lives && !alone -> alone = true; listener = false;
			if
			:: MISTAKE == 7
			:: else -> revoke_all(); free_hold(0); free_hold(1); has[0] = false; has[1] = false
			fi }
		:: atomic { !guardian_killed && (WITH & HANG) && !hangs && frozen == OURS && root -> hangs = true };
			/* The release of a file that was deleted on what is frozen. */
			atomic { frozen != OURS || guardian_killed -> hangs = false }
		:: atomic { !event || guardian_killed -> break }
		od;
		atomic {
		if
		:: !guardian_killed -> advance()
		:: else
		fi }
	/* LINGER_MS later. */
	:: atomic { !guardian_killed && is_idle && !event -> listener = false; watcher_lives = false; break }
	od;
	atomic { listener = false; loop_ended = true }
}

/* guardian/main.c: watch_over() */
proctype Watcher()
{
	bool ended, thawed;

end:	if
	:: guardian_ended || (MISTAKE == 6 && guardian_killed) -> ended = true
	/* No sign of life. */
	:: atomic { hangs && root && MISTAKE != 12 -> guardian_killed = true }
	:: atomic { !watcher_lives -> goto end_watcher }
	fi;
	do
	:: atomic { root && MISTAKE != 5 && !thawed ->
		if
		:: frozen == NOBODY -> skip
		:: else -> frozen = NOBODY; tear(); thawed = true
		fi;
		if
		:: ended -> break
		:: else -> ended = guardian_ended
		fi }
	:: atomic { !root || MISTAKE == 5 || thawed -> break }
	od;
	watcher_lives = false;
end_watcher:
	false
}

/* ---- The others */

inline wait_for_reply(i)
{
	if
	:: atomic { reply[i] != NO_ANSWER -> error = reply[i]; reply[i] = NO_ANSWER; waiter[i] = false }
	:: atomic { sockets_end && reply[i] == NO_ANSWER -> error = ECANCELED; waiter[i] = false }
	/* A signal. */
	:: atomic { reply[i] == NO_ANSWER && interrupts > 0 -> interrupts--; error = ECANCELED; waiter[i] = false }
	fi
}

/* Its requests and answers are lib/guardian/talk.c. */
proctype Client(byte i)
{
	mtype:errno error;
	byte interrupts = 1;
	bool was_torn;

	if
	:: atomic { listener -> request[i] = GUARDIAN_OPEN; waiter[i] = true }
	:: !listener -> goto end_stopped
	fi;
	wait_for_reply(i);
	if
	:: error != OK && error != ECANCELED -> goto close
	:: error == ECANCELED
	:: error == OK
	fi;
	if
	:: goto close
	:: stopped[i] = true; goto end_stopped
	:: atomic { hold[i].there && request[i] == NO_REQUEST -> was_torn = torn[i]; has[i] = false; request[i] = GUARDIAN_THAW; waiter[i] = true }
	fi;
	wait_for_reply(i);
	assert(error != OK || !was_torn);
	if
	:: goto close
	:: atomic { hold[i].there && request[i] == NO_REQUEST -> request[i] = GUARDIAN_FREEZE; waiter[i] = true }
	fi;
	wait_for_reply(i);
	if
	:: stopped[i] = true; goto end_stopped
	:: skip
	fi;
close:
	atomic { has[i] = false; closed[i] = true };
end_stopped:
	false
}

proctype Clock()
{
end:	do
	:: atomic { deadline_runs && !hold[0].due && !guardian_killed -> hold[0].due = true }
	od
}

proctype Stranger()
{
	if
	/* FITHAW of what we froze. That it was frozen again is not found out before the guardian has looked: freezefd-guardian(7), C5. */
	:: atomic { frozen == OURS -> frozen = NOBODY; tear() };
end_left:	atomic { frozen == NOBODY && state != FREEZING && (!root || work == WORK_LEAVE) -> frozen = STRANGERS }
	:: atomic { frozen == NOBODY && !root -> frozen = STRANGERS }
	:: goto end_stopped
	fi;
	if
	:: atomic { frozen == STRANGERS -> frozen = NOBODY }
	:: goto end_stopped
	fi;
end_stopped:
	false
}

proctype Force()
{
end:	atomic { listener -> revoke_all(); force_wanted = true }
end_forced: force_done
}

proctype Killer()
{
	if
	:: atomic { watcher_lives && !loop_ended -> guardian_killed = true }
	:: atomic { watcher_lives && !guardian_killed -> watcher_lives = false }
	:: skip
	fi
}

init {
	atomic {
		frozen = NOBODY;
		state = THAWED;
		work = NO_WORK;
		result = OK;
		listener = true;
		watcher_lives = true;
		hold[0].hold = NONE; hold[1].hold = NONE;
		request[0] = NO_REQUEST; request[1] = NO_REQUEST;
		reply[0] = NO_ANSWER; reply[1] = NO_ANSWER;
		run Guardian(); run Thread(); run Watcher(); run Client(0); run Clock();
		if :: WITH & CLIENT -> run Client(1) :: else fi;
		if :: WITH & STRANGER -> run Stranger() :: else fi;
		if :: WITH & FORCE -> run Force() :: else fi;
		if :: WITH & KILL -> run Killer() :: else fi
	}
}
