// What a walk that fails leaves in the state block: a page fault of the program (APM vol. 2, 8.2.15), or a nested page fault, which is an exit (15.25.6).
// Whoever only looks on (Access.PEEK) leaves nothing. Both answer false, as the walk then does.

import { ExitCode } from '../arch/exit-code.ts';
import { PageFault, Vector } from '../arch/exception.ts';
import { Cr4, Efer } from '../arch/registers.ts';
import { State } from '../memory/state.ts';
import { Access } from './access.ts';
import type { Nested } from './nested.ts';

/** `code`: the bits of the error code that do not follow from the access. */
export function pageFault(i32: Int32Array, state: number, lo: number, hi: number, access: number, code: number): false {
  if ((access & Access.PEEK) !== 0) return false;
  const cr4 = i32[(state + State.CR4) >>> 2]!;
  const nx = (i32[(state + State.EFER) >>> 2]! & Efer.NXE) !== 0 && (cr4 & Cr4.PAE) !== 0;
  const reportsFetch = nx || (cr4 & Cr4.SMEP) !== 0;
  i32[(state + State.FAULT_VECTOR) >>> 2] = Vector.PF;
  i32[(state + State.FAULT_CODE) >>> 2] =
    code |
    ((access & Access.WRITE) !== 0 ? PageFault.RW : 0) |
    ((access & Access.USER) !== 0 ? PageFault.US : 0) |
    ((access & Access.FETCH) !== 0 && reportsFetch ? PageFault.ID : 0);
  i32[(state + State.FAULT_ADDRESS) >>> 2] = lo;
  i32[(state + State.FAULT_ADDRESS + 4) >>> 2] = hi;
  return false;
}

/** `nested` says why; `low` and `high` are the guest physical address. */
export function nestedFault(i32: Int32Array, state: number, nested: Nested, low: number, high: number, access: number): false {
  if ((access & Access.PEEK) !== 0) return false;
  i32[(state + State.STOP) >>> 2] = ExitCode.NPF;
  i32[(state + State.STOP_TRAP) >>> 2] = 0;
  i32[(state + State.STOP_INFO1) >>> 2] = nested.infoLow;
  i32[(state + State.STOP_INFO1 + 4) >>> 2] = nested.infoHigh;
  i32[(state + State.STOP_INFO2) >>> 2] = low;
  i32[(state + State.STOP_INFO2 + 4) >>> 2] = high;
  return false;
}
