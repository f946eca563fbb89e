// Attributes of segments that admit any access up to their limit: present, not expand-down; readable, or writable and no code
// (APM vol. 2, 4.12). All others are for the slow check to decide.

import { SegmentAttribute as A } from '../arch/registers.ts';

export const READABLE = { mask: A.P | A.CONFORMING | A.WRITABLE, value: A.P | A.WRITABLE } as const;
export const WRITABLE = { mask: A.P | A.CODE | A.CONFORMING | A.WRITABLE, value: A.P | A.WRITABLE } as const;
