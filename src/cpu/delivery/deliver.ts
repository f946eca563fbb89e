// Delivery of exceptions and interrupts, and of what faults on the way. APM vol. 2, 8.2.9 (double faults, table 8-3), 8.7 to 8.9;
// intercepts: 15.7.2, 15.12. Until a handler is entered no register changes, so that an exit in the middle finds the guest as
// before; State.EXIT_INT_INFO then names the event. The event is handed on as numbers: nothing is allocated.

import { ExitCode } from '../../arch/exit-code.ts';
import { givesDoubleFault, pushesErrorCode, Vector } from '../../arch/exception.ts';
import { DebugCtl } from '../../arch/registers.ts';
import { EventInjection, EventType } from '../../arch/vmcb.ts';
import { State } from '../../memory/state.ts';
import { DR7_GD } from '../breakpoints.ts';
import { NO_FAULT, type Processor } from '../processor.ts';
import { eventWord, hasErrorCode, isException, isSoftware, namesSelector, resumeFlag, Source } from './event.ts';
import { throughLegacyGate } from './legacy.ts';
import { throughLongGate } from './long-mode.ts';
import { throughVectorTable } from './real-mode.ts';

/** Exceptions in a row, each met while the one before is delivered. */
const LONGEST_CHAIN = 16;

export const Delivery = { DONE: 0, SHUTDOWN: 1, EXIT: 2, FAULT: 3 } as const;
export type Delivery = (typeof Delivery)[keyof typeof Delivery];

/**
 * Delivers an event; State.RIP is what the handler returns to. An error code below 0 is none. EXIT: a nested page fault, an intercepted exception or task switch is recorded as an exit. FAULT: an instruction asked for the event
 * (`byInstruction`), and the fault on the way, which is recorded, is that instruction's.
 */
export function deliver(p: Processor, source: Source, vector: number, errorCode: number, byInstruction = false): Delivery {
  let from = source;
  let now = vector;
  let code = errorCode;
  let chained = 0;
  p.inNewTask = false;
  for (;;) {
    if (from === Source.EXCEPTION) {
      if (intercepted(p, now, code)) return Delivery.EXIT;
      if (now === Vector.PF) p.set64(State.CR2, p.u32(State.FAULT_ADDRESS), p.high32(State.FAULT_ADDRESS));
    }
    if (p.options.trace !== null && !isSoftware(from)) trace(p, now, code);
    if (p.observer !== null) p.observer.delivering(p.state, now, from, code);
    p.clearPending();
    const pushed = hasErrorCode(from, now, code) ? code : -1;
    if (through(p, now, pushed, isSoftware(from), resumeFlag(from, now))) {
      entered(p, from, now);
      return Delivery.DONE;
    }
    const second = p.u32(State.FAULT_VECTOR) | 0;
    if (byInstruction && second !== NO_FAULT && !p.inNewTask) return Delivery.FAULT;
    p.set64(State.EXIT_INT_INFO, eventWord(from, now, code), pushed < 0 ? 0 : pushed);
    if (second === NO_FAULT) return Delivery.EXIT;
    // All but INT n and its kin come from outside the program, as far as the fault on the way is concerned (8.4.1: EXT).
    const external = namesSelector(second) && !isSoftware(from) ? 1 : 0;
    const secondCode = pushesErrorCode(second) ? p.u32(State.FAULT_CODE) | external : -1;
    const merged = isException(from) ? merge(now, second) : second;
    // The intercept of the second comes before both become #DF: the hypervisor has EXITINTINFO to do the same.
    if (merged !== second && intercepted(p, second, secondCode)) return Delivery.EXIT;
    if (merged === SHUTDOWN) return Delivery.SHUTDOWN;
    code = merged === second ? secondCode : 0;
    now = merged;
    from = Source.EXCEPTION;
    if (++chained === LONGEST_CHAIN) return giveUp(p);
  }
}

/**
 * A benign exception and a contributory one can call each other up without end (#AC and #TS, where the table makes no #DF of them), and
 * a processor then tries for ever. Nothing is delivered, and the instruction faults again: for ever, too, but time passes in between.
 */
function giveUp(p: Processor): Delivery {
  p.clearPending();
  p.set64(State.EXIT_INT_INFO, 0, 0);
  p.settle();
  return Delivery.DONE;
}

/**
 * Raises an exception in the place of an exit (#VC). If that exit came in the middle of a delivery, the two meet like any two exceptions:
 * #VC is a contributory one (15.35.5).
 */
export function raise(p: Processor, vector: number, errorCode: number): Delivery {
  const first = p.u32(State.EXIT_INT_INFO);
  let merged = vector;
  if ((first & EventInjection.V) !== 0 && (first & EventInjection.TYPE) >>> 8 === EventType.EXCEPTION)
    merged = merge(first & EventInjection.VECTOR, vector);
  if (merged === SHUTDOWN) return Delivery.SHUTDOWN;
  return deliver(p, Source.EXCEPTION, merged, merged === vector ? errorCode : 0);
}

/** In the place of a vector: a fault while #DF is delivered. */
const SHUTDOWN = -2;

/** What becomes of a second exception while a first one is delivered (table 8-3). */
const merge = (first: number, second: number): number =>
  first === Vector.DF ? SHUTDOWN : givesDoubleFault(first, second) ? Vector.DF : second;

function through(p: Processor, vector: number, errorCode: number, software: boolean, rf: number): boolean {
  if (p.longMode) return throughLongGate(p, vector, errorCode, software, rf);
  return p.protectedMode ? throughLegacyGate(p, vector, errorCode, software, rf) : throughVectorTable(p, vector);
}

/** An intercepted exception leaves before it has any effect; CR2 stays (15.12). */
function intercepted(p: Processor, vector: number, errorCode: number): boolean {
  const exit = ExitCode.EXCEPTION + vector;
  if (!p.intercepted(exit)) return false;
  p.exit(exit, BigInt(Math.max(errorCode, 0)), vector === Vector.PF ? p.u64(State.FAULT_ADDRESS) : 0n);
  return true;
}

function entered(p: Processor, source: Source, vector: number): void {
  // So that the handler can use the debug registers (13.1.1.5).
  if (vector === Vector.DB) {
    p.setU32(State.DR7, p.u32(State.DR7) & ~DR7_GD);
    // Recording and single step of control transfers end with it (13.1.4, 13.1.7).
    p.setU32(State.DEBUGCTL, p.u32(State.DEBUGCTL) & ~(DebugCtl.LBR | DebugCtl.BTF));
  }
  if (source === Source.NMI) p.setU32(State.NMI_BLOCKED, 1);
  p.set64(State.EXIT_INT_INFO, 0, 0);
  p.setU32(State.SHADOW, 0);
  // From 64-bit mode a handler is entered in 64-bit mode: of what follows from the registers only the privilege is another.
  if (p.mode === 64) p.mmu.changePrivilege(p.state);
  else p.settle();
  if (p.observer !== null) p.observer.delivered(p.state);
  if (p.labels !== null) p.labels.delivered(p, vector);
}

function trace(p: Processor, vector: number, errorCode: number): void {
  const cr2 = vector === Vector.PF ? p.u64(State.CR2) : null;
  p.options.trace?.emit({ kind: 'exception', vector, errorCode: errorCode < 0 ? null : errorCode, rip: p.u64(State.RIP), cr2 });
}
