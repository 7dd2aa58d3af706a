// SPDX-License-Identifier: GPL-2.0-or-later
/* What numbers of the interface are called, as in /proc/PID/fdinfo. */
#include "tool.h"

const char *state_name(uint32_t state)
{
	static const char *const names[] = {
		[FREEZE_STATE_THAWED] = "thawed",
		[FREEZE_STATE_FREEZING] = "freezing",
		[FREEZE_STATE_FROZEN] = "frozen",
	};

	return state < ARRAY_SIZE(names) ? names[state] : "unknown";
}

const char *hold_name(uint32_t hold)
{
	static const char *const names[] = {
		[FREEZEFD_HOLD_NONE] = "none",	     [FREEZEFD_HOLD_HELD] = "held",
		[FREEZEFD_HOLD_EXPIRED] = "expired", [FREEZEFD_HOLD_REVOKED] = "revoked",
		[FREEZEFD_HOLD_GONE] = "gone",
	};

	return hold < ARRAY_SIZE(names) ? names[hold] : "unknown";
}
