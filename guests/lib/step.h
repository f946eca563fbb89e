/*
 * A step is a function that decides whether something from outside is believed, or what of ours goes out. guests/bugs puts a wrong
 * one in the place of a single step, to show what it was for: there steps are weak, and those that are static elsewhere can be named.
 */
#pragma once

#ifdef STEPS_CAN_BE_REPLACED
#define STEP        __attribute__((weak))
#define STATIC_STEP __attribute__((weak))
#else
#define STEP
#define STATIC_STEP static
#endif
