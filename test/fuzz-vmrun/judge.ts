// One random VMRUN after the other: what must hold of each. What VMRUN refuses it refuses for a documented reason and leaves alone;
// what it accepts leaves by an exit that was asked for, and VMRUN accepts it again; nobody writes what is not his.

import { ExitClass, ExitCode, exitClass, exitName } from '../../src/arch/exit-code.ts';
import { type Technology, VMCB } from '../svm/fixture.ts';
import { spa } from '../../src/util/address.ts';
import { Chance } from './chance.ts';
import { Lab } from './lab.ts';
import { mutate, type Limits, type Twist } from './mutate.ts';
import { broken } from './oracle.ts';

const PAGE = 4096;
const BUDGET = 40;
/** After so many cases all of memory is compared. */
const SWEEP = 4096;
/** EXITCODE to EXITINTINFO. */
const EXITS = { from: 0x070, bytes: 0x20 } as const;
const REFUSAL = new Uint8Array(EXITS.bytes).fill(0xff, 0, 8);
const REFUSED = 'refused: ';
const MARK = 0x1111_2222_3333_4444n;

export type Verdict = { readonly kind: string; readonly fault: string | null };

const technologies = ['none', 'sev', 'sev-es', 'sev-es'] as const;
const models = ['milan', 'milan', 'genoa', 'naples'] as const;

export class Judge {
  readonly #labs = new Map<string, Lab>();
  readonly #chance: Chance;
  readonly #vmcb = new Uint8Array(PAGE);
  readonly #vmsa = new Uint8Array(PAGE);
  readonly #after = new Uint8Array(PAGE);
  readonly #pages = { vmcb: new DataView(this.#vmcb.buffer), vmsa: new DataView(this.#vmsa.buffer) };
  readonly #afterView = new DataView(this.#after.buffer);
  readonly #twist: Twist = { tamper: -1, encryption: true, elsewhere: 0 };
  readonly #registers = new BigUint64Array(16);
  #cases = 0;
  /** Cases by the rule that they break, and accepted ones by their exit. */
  readonly kinds = new Map<string, number>();

  constructor(seed: string) {
    this.#chance = new Chance(seed);
  }

  judge(number: number): Verdict {
    const c = this.#chance;
    c.start(number);
    const lab = this.#lab(c.one(technologies), c.one(models), c.chance(254));
    this.#make(lab);
    const verdict = this.#run(lab);
    this.kinds.set(verdict.kind, (this.kinds.get(verdict.kind) ?? 0) + 1);
    if (!verdict.kind.startsWith(REFUSED)) lab.restore();
    if (verdict.fault !== null || ++this.#cases % SWEEP !== 0) return verdict;
    return { kind: verdict.kind, fault: this.sweep() };
  }

  /** Has any case so far written what was not its own? */
  sweep(): string | null {
    for (const [name, lab] of this.#labs) {
      lab.prepare(lab.vmcb.slice(), lab.vmsa.slice(), -1, true);
      const found = lab.intrusion();
      if (found !== null) return `${name}: ${found}, by this case or one of the ${SWEEP} before`;
    }
    return null;
  }

  #lab(technology: Technology, model: string, smmLock: boolean): Lab {
    const name = `${technology} ${model}${smmLock ? '' : ' unlocked'}`;
    let lab = this.#labs.get(name);
    if (lab === undefined) this.#labs.set(name, (lab = new Lab(technology, model, smmLock)));
    return lab;
  }

  #make(lab: Lab): void {
    const c = this.#chance;
    const { vmcb, vmsa } = this.#pages;
    this.#vmcb.set(lab.vmcb);
    this.#vmsa.set(lab.vmsa);
    const rip = 0x6000 + 32 * c.below(lab.sequences);
    vmcb.setUint32(0x578, rip, true);
    vmsa.setUint32(0x178, rip, true);
    const { firstAsidWithoutEs, lastAsid, model } = lab.box;
    const limits: Limits = {
      es: lab.technology === 'sev-es',
      firstAsidWithoutEs,
      lastAsid,
      physicalBits: model.physicalBits,
      cBit: model.cBit,
    };
    mutate(c, this.#pages, limits, this.#twist);
    for (let n = 0; n < 16; n++) this.#registers[n] = MARK;
  }

  #run(lab: Lab): Verdict {
    const { svm } = lab.machine;
    const { tamper, encryption, elsewhere } = this.#twist;
    lab.prepare(this.#vmcb, this.#vmsa, tamper, encryption);
    if (elsewhere !== 0) {
      const fault = svm.vmrun(spa(elsewhere), this.#registers);
      return { kind: '#GP', fault: fault === 13 ? null : `VMRUN of ${elsewhere.toString(16)} gives fault ${fault}, not #GP` };
    }
    const before = svm.retired;
    svm.setTimer(BUDGET);
    const fault = svm.vmrun(VMCB, this.#registers);
    if (fault !== null) return { kind: 'fault', fault: `VMRUN raises ${fault}` };
    lab.vmcbNow(this.#after);
    const code = this.#afterView.getInt32(0x70, true);
    if (this.#afterView.getInt32(0x74, true) !== code >> 31) return { kind: 'code', fault: 'EXITCODE is not sign-extended' };
    const rule = broken({ ...this.#pages, whole: tamper < 0, encryption }, lab.box);
    if (rule !== null) return { kind: REFUSED + rule, fault: this.#refused(lab, code, rule) };
    const kind = `${lab.technology} ${exitName(code)}`;
    if (code === ExitCode.INVALID) return { kind, fault: `VMRUN refuses a VMCB that breaks no rule: ${svm.refusal}` };
    const wrong =
      this.#accepted(code) ?? (svm.retired - before > BUDGET + 2 ? `ran ${svm.retired - before} instructions of ${BUDGET}` : null);
    return { kind, fault: wrong ?? this.#again(lab) };
  }

  /** What VMRUN refuses stays as it is but for the exit code. */
  #refused(lab: Lab, code: number, rule: string): string | null {
    if (code !== ExitCode.INVALID) return `VMRUN accepts what breaks a rule (${rule}): ${exitName(code)}`;
    this.#vmcb.set(REFUSAL, EXITS.from);
    const changed = this.#changed(0);
    if (changed !== null) return `VMRUN refuses (${rule}) and changes ${changed}`;
    if (lab.technology === 'sev-es' && Buffer.compare(lab.vmsaNow(), this.#vmsa) !== 0)
      return `VMRUN refuses (${rule}) and changes the VMSA`;
    return this.#touched ? `VMRUN refuses (${rule}) and changes registers` : null;
  }

  #accepted(code: number): string | null {
    const es = this.#twist.encryption && (this.#pages.vmcb.getUint8(0x90) & 4) !== 0;
    if (es && exitClass(code) !== ExitClass.AUTOMATIC) return `an SEV-ES guest leaves by ${exitName(code)}, which is not automatic`;
    if (!es && code === ExitCode.VMGEXIT) return 'VMGEXIT of a guest without SEV-ES';
    if (es && code === ExitCode.NPF && (this.#afterView.getUint8(0x78) & 8) !== 0) return 'an NPF with reserved bits is no automatic exit';
    // The host's timer needs no intercept here, and a shutdown none anywhere.
    const named = code === ExitCode.INTR || code === ExitCode.SHUTDOWN || code === ExitCode.NPF || code === ExitCode.VMGEXIT;
    if (!named && (code < 0 || code >= 0xa8 || ((this.#vmcb[code >>> 3]! >>> (code & 7)) & 1) === 0))
      return `leaves by ${exitName(code)}, which is not intercepted`;
    if (this.#afterView.getInt32(0xa8, true) < 0) return 'EVENTINJ.V is set behind VMRUN';
    if (!es) return null;
    const changed = this.#changed(0x400);
    if (changed !== null) return `an SEV-ES guest changes ${changed}`;
    if (this.#afterView.getUint32(0xc8, true) !== 0 || this.#after[0xd0] !== 0) return 'an SEV-ES guest shows RIP or instruction bytes';
    return this.#touched ? 'an SEV-ES guest changes registers of the host’s copy' : null;
  }

  /** What #VMEXIT left is a VMCB that VMRUN takes: clean bits may say that nothing was changed. */
  #again(lab: Lab): string | null {
    const c = this.#chance;
    if (!c.chance(64)) return null;
    const { svm } = lab.machine;
    lab.machine.page.setU32(0x0c0, c.chance(128) ? 0x1fff : 0);
    if (c.chance(64)) lab.vmsaNow();
    svm.setTimer(BUDGET);
    svm.vmrun(VMCB, this.#registers);
    const code = lab.machine.page.u32(0x70) | 0;
    return code === ExitCode.INVALID ? `VMRUN refuses what #VMEXIT left: ${svm.refusal}` : null;
  }

  /** The first byte of the VMCB from an offset on that is another than it was. */
  #changed(from: number): string | null {
    if (Buffer.compare(this.#after.subarray(from), this.#vmcb.subarray(from)) === 0) return null;
    return `VMCB ${this.#after.findIndex((value, at) => at >= from && value !== this.#vmcb[at]).toString(16)}h`;
  }

  get #touched(): boolean {
    return this.#registers.some((value) => value !== MARK);
  }
}
