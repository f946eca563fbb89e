/* The end of a guest that cannot go on. */
#pragma once

struct frame;

/* An exception that nobody expected. */
_Noreturn void panic_exception(const struct frame *frame);

_Noreturn void panic(const char *why);
