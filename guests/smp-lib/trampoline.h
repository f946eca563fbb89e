/* Where the way up from real mode lies, and what C and assembly agree on about it. */
#pragma once

/* The last page below 1 MiB, which is as far as a start-up IPI reaches: it names a page below that (APM vol. 2, 16.5). */
#define TRAMPOLINE        0xff000
#define TRAMPOLINE_VECTOR (TRAMPOLINE >> 12)
/* The AP jump table has a page of its own: IP and CS, 16 bits each (GHCB specification 4.3.1). */
#define JUMP_TABLE        0xfe000

#define TRAMPOLINE_CODE32 0x08
#define TRAMPOLINE_DATA   0x10
#define TRAMPOLINE_CODE64 0x18
#define TRAMPOLINE_CODE16 0x20
#define TRAMPOLINE_DATA16 0x28
