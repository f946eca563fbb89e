// Which intercepts a guest runs under: the default set, in the manner of KVM, and what --intercept adds. APM vol. 2, 15.9 and
// appendix B (VMCB 000h to 017h); table 15-33 for what is automatic under SEV-ES.

import { ExitClass, ExitCode, exitClass, exitCodeOf } from '../arch/exit-code.ts';
import { UserError } from '../util/errors.ts';

/** The six intercept vectors of a VMCB. */
export type InterceptVectors = Uint32Array;
export const INTERCEPT_VECTORS = 6;
/** Codes from here on have no bit in the vectors. */
const CODES = INTERCEPT_VECTORS * 32;

export const setIntercept = (vectors: InterceptVectors, code: number): void => {
  vectors[code >>> 5] = (vectors[code >>> 5] ?? 0) | (1 << (code & 31));
};
export const clearIntercept = (vectors: InterceptVectors, code: number): void => {
  vectors[code >>> 5] = (vectors[code >>> 5] ?? 0) & ~(1 << (code & 31));
};

/** What swaps no debug registers leaves DR7 to the guest's #VC handler; DR0 to DR3 are then those of the processor (15.35.10). */
const debugRegisters = [ExitCode.DR0_READ + 7, ExitCode.DR0_WRITE + 7] as const;

/** Non-automatic under SEV-ES: they reach the guest as #VC first. */
const defaults = [
  ExitCode.RDPMC,
  ExitCode.CPUID,
  ExitCode.INVD,
  ExitCode.INVLPGA,
  ExitCode.IOIO,
  ExitCode.MSR,
  ExitCode.TASK_SWITCH,
  ExitCode.VMMCALL,
  ExitCode.VMLOAD,
  ExitCode.VMSAVE,
  ExitCode.STGI,
  ExitCode.CLGI,
  ExitCode.SKINIT,
  ExitCode.WBINVD,
  ExitCode.MONITOR,
  ExitCode.MWAIT,
  ExitCode.RDPRU,
] as const;

/** Automatic under SEV-ES. VMRUN must be set (15.5.1). */
const always = [ExitCode.INTR, ExitCode.NMI, ExitCode.SMI, ExitCode.INIT, ExitCode.HLT, ExitCode.SHUTDOWN, ExitCode.VMRUN] as const;

/** Register-write traps: only SEV-ES guests have them (15.35.10). */
const traps = [ExitCode.EFER_WRITE_TRAP, ExitCode.CR0_WRITE_TRAP + 0, ExitCode.CR0_WRITE_TRAP + 4, ExitCode.CR0_WRITE_TRAP + 8] as const;

/** Control registers whose accesses `cr` intercepts. CR2 and CR3 stay free. */
export const interceptedControlRegisters = [0, 4, 8] as const;

/** What --intercept asked for. */
export type Intercepts = {
  /** Single intercepts by exit code. */
  readonly codes: readonly number[];
  /** Reads and writes of CR0, CR4 and CR8; under SEV-ES from the first VMGEXIT that names a GHCB page. */
  readonly controlRegisters: boolean;
};

export const noIntercepts: Intercepts = { codes: [], controlRegisters: false };

/** Reads the names of --intercept: `cr`, or names of exit codes in any case. Throws UserError. */
export function parseIntercepts(names: readonly string[]): Intercepts {
  const codes = new Set<number>();
  let controlRegisters = false;
  for (const given of names) {
    const name = given.trim();
    if (name.toLowerCase() === 'cr') {
      controlRegisters = true;
      continue;
    }
    const code = exitCodeOf(name.replaceAll('-', '_'));
    if (code === undefined) {
      throw new UserError(
        `--intercept: there is no intercept '${given}': give 'cr' or a name of APM appendix C such as cpuid, rdtsc, cr4_write`,
      );
    }
    if (exitClass(code) === ExitClass.AUTOMATIC || code < 0 || code >= CODES) {
      throw new UserError(`--intercept: ${name} is an automatic exit, not an intercept to choose: name a non-automatic one such as rdtsc`);
    }
    if (code === ExitCode.EXCEPTION + 29) {
      throw new UserError('--intercept: #VC (exception_29) must reach the guest (APM 15.35.5): name another exception');
    }
    codes.add(code);
  }
  return { codes: [...codes].sort((a, b) => a - b), controlRegisters };
}

/**
 * After so many PAUSEs in a row, each at most so many instructions after the one before, a virtual CPU of several waits for another that is
 * not running: it gives up its turn (VMCB 03Eh and 03Ch; 15.14.4). The threshold is KVM's; its count, 3000, is longer than a turn of ours.
 */
export const pauseFilter = { count: 100, threshold: 128 } as const;

/** What a guest is, as far as its intercepts depend on it. */
export type InterceptedGuest = {
  readonly encryptedState: boolean;
  /** DebugSwap. */
  readonly ownDebugRegisters?: boolean;
  /** There are others that a virtual CPU may be spinning for. */
  readonly several?: boolean;
};

/** The vectors with which a guest starts. */
export function initialVectors(
  asked: Intercepts,
  { encryptedState, ownDebugRegisters = false, several = false }: InterceptedGuest,
): InterceptVectors {
  const vectors = new Uint32Array(INTERCEPT_VECTORS);
  for (const code of [...defaults, ...always, ...asked.codes]) setIntercept(vectors, code);
  if (!ownDebugRegisters) for (const code of debugRegisters) setIntercept(vectors, code);
  if (several) setIntercept(vectors, ExitCode.PAUSE);
  if (encryptedState) for (const code of traps) setIntercept(vectors, code);
  else if (asked.controlRegisters) interceptControlRegisters(vectors);
  return vectors;
}

export function interceptControlRegisters(vectors: InterceptVectors): void {
  for (const n of interceptedControlRegisters) {
    setIntercept(vectors, ExitCode.CR0_READ + n);
    setIntercept(vectors, ExitCode.CR0_WRITE + n);
  }
}
