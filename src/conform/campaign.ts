// The whole of it: a plain run, which says what there is to judge; then, VMGEXIT by VMGEXIT, every variant of its answer from a snapshot to the
// end of the run. A generator, so that a surface can show progress and stop between cells.

import { ExitCode } from '../arch/exit-code.ts';
import { GhcbEvent, GhcbInfo } from '../arch/ghcb.ts';
import type { TraceEvent } from '../util/trace.ts';
import { assert, UserError } from '../util/errors.ts';
import type { InterposedVcpu } from '../hypervisor/ghcb/interposer.ts';
import type { TraceReader } from '../debug/tracer.ts';
import { codeOf, type ConformEvent, keyOf, nameOf, type Request } from './event.ts';
import { GuestRun, type GuestRunOptions, type Ran } from './guest-run.ts';
import { judge, newFindings, type Verdict } from './judge.ts';
import { withheld } from './page-variants.ts';
import type { Variant } from './variant.ts';
import { variantsOf } from './variants.ts';

/** A variant may take so many times the instructions of the plain run, and never less than `LEAST`: a guest that refuses has something to print. */
const TIMES = 10;
const LEAST = 1_000_000;
/** Each of them is kept with its page, before and after: more would be of no use to anybody. */
const MOST_EVENTS = 20_000;

export type Cell = Verdict & {
  /** `NUMBER.VARIANT`: with the same image and options the same cell. */
  readonly id: string;
  readonly event: ConformEvent;
  readonly variant: Variant;
  readonly instructions: number;
  /** Sanitizer findings that the plain run has not. */
  readonly findings: Ran['findings'];
  /** What the guest sent: only of a cell that is judged alone. */
  readonly output?: string;
};

export type Choice = {
  /** Of requests of one kind from one place, so many are judged; null: all. */
  readonly occurrences: number | null;
  readonly event: (event: ConformEvent) => boolean;
  readonly variant: (variant: Variant) => boolean;
};

/** What the plain run has shown. */
export type Plan = {
  readonly plain: Ran;
  /** VMGEXITs of the plain run. */
  readonly vmgexits: number;
  /** Those that are judged, each with its variants. */
  readonly chosen: readonly { readonly event: ConformEvent; readonly variants: readonly Variant[] }[];
  readonly cells: number;
  /** VMGEXITs that are like others that are judged. */
  readonly leftOut: number;
};

/** Steps of a run that has no end in sight, for whoever wants to interrupt it. */
export type Step<T> = Generator<void, T>;

export const cellName = (event: ConformEvent, variant: Variant): string => `${event.number}.${variant.id}`;

/** Instructions that a run with a variant may take in all. */
const limitOf = (plain: Ran): number => Math.max(TIMES * plain.instructions, LEAST);

/** The plain run. `most`: instructions after which it counts as endless; null: never. */
export function* plan(options: GuestRunOptions, choice: Choice, most: number | null): Step<Plan> {
  const events: ConformEvent[] = [];
  const kinds = new Map<string, { count: number; readonly events: ConformEvent[] }>();
  const vcs = new LastVc();
  const run = new GuestRun(options, [vcs]);
  const { player } = run;
  let last = 0;
  player.record = (vcpu, number, request, reply, previous) => {
    const vc = vcs.of(request);
    const at = run.vm.consumed;
    const since = last;
    last = at;
    const { rip: vmgexit } = run;
    const rip = vc?.rip ?? vmgexit;
    const key = keyOf(request, rip, vmgexit);
    const kind = kinds.get(key) ?? { count: 0, events: [] };
    kinds.set(key, kind);
    kind.count++;
    if (choice.occurrences !== null && kind.count > choice.occurrences) return;
    const stoppable = vc !== null && vc.at >= since && run.vm.guest.vm.vcpus.length === 1;
    const place = { rip, vcpu, before: vc?.at ?? Math.max(since, at - 1), stoppable };
    const event = {
      number,
      code: codeOf(request),
      name: nameOf(request),
      ...place,
      occurrence: kind.count,
      occurrences: 0,
      request,
      reply,
      previous,
    };
    if (!choice.event(event) || events.length > MOST_EVENTS) return;
    kind.events.push(event);
    events.push(event);
  };
  try {
    while (!run.step(most ?? Number.POSITIVE_INFINITY)) {
      checkCount(events.length);
      yield;
    }
    checkCount(events.length);
    const plain = run.ran(most);
    checkPlain(plain);
    for (const { count, events: same } of kinds.values()) for (const event of same) event.occurrences = count;
    const chosen = events
      .map((event) => ({ event, variants: variantsOf(event).filter(choice.variant) }))
      .filter(({ variants }) => variants.length > 0);
    const cells = chosen.reduce((sum, { variants }) => sum + variants.length, 0);
    const leftOut = [...kinds.values()].reduce(
      (sum, { count, events: [first, ...rest] }) => (first !== undefined ? sum + count - 1 - rest.length : sum),
      0,
    );
    return { plain, vmgexits: player.count, chosen, cells, leftOut };
  } finally {
    run.dispose();
  }
}

function checkCount(events: number): void {
  if (events > MOST_EVENTS) throw new UserError(`more than ${MOST_EVENTS} VMGEXITs to judge: choose fewer by --event or --occurrences`);
}

function checkPlain({ outcome, ending }: Ran): void {
  const mend: Partial<Record<typeof outcome.kind, string>> = {
    limit: 'give a higher --max-instructions',
    shutdown: 'mend that first: `cbit run` shows what happened',
    refused: 'mend that first: `cbit run` shows what happened',
  };
  const what = mend[outcome.kind];
  if (what !== undefined) throw new UserError(`without any variant ${ending}, so there is nothing to compare with: ${what}`);
}

/** Judges every cell of the plan. */
export function* judgeAll(options: GuestRunOptions, { plain, chosen }: Plan): Generator<Cell | null, void> {
  if (chosen.length === 0) return;
  const limit = limitOf(plain);
  const run = new GuestRun(options);
  try {
    const { vm, player } = run;
    const start = vm.snapshot();
    let clean = start;
    for (const { event, variants } of chosen) {
      let before: ReturnType<typeof vm.snapshot>;
      const play = function* (variant: Variant, fill: number): Step<Ran> {
        vm.restore(before);
        player.part = { number: event.number, variant, fill };
        variant.early?.(vcpuOf(run, event));
        while (!run.step(limit)) yield;
        return endOf(run, variant, limit);
      };
      const cell = function* (variant: Variant): Generator<null, Cell> {
        const ran = yield* quietly(play(variant, 0));
        const anew = (): GuestRun => {
          vm.restore(start);
          player.part = null;
          return run;
        };
        return cellFrom(
          event,
          variant,
          plain,
          ran,
          judge(variant, plain, ran, {
            again: () => finish(play(variant, 1)),
            atOtherTimes: () => atOtherTimes(anew, event, variant, limit),
            uncompleted: withoutGhcb(options, event),
            withheld: () => (withheld.applies(event) ? finish(play(withheld, 0)) : null),
            control: () => (variant.control === undefined ? null : finish(play(variant.control, 0))),
          }),
        );
      };
      const [soon, late] = [variants.filter(({ early }) => early !== undefined), variants.filter(({ early }) => early === undefined)];
      if (soon.length > 0) {
        vm.restore(clean); // behind a VMGEXIT that it has stopped at, a run goes on to the end of its slice
        assert(run.stopBefore(event), 'every run comes by the same instructions');
        before = clean = vm.snapshot();
        for (const variant of soon) yield yield* cell(variant);
        vm.restore(before);
        player.part = null;
      }
      assert(run.reach(event.number), 'every run comes by the same VMGEXITs');
      before = vm.snapshot();
      for (const variant of late) yield yield* cell(variant);
      vm.restore(before);
      player.part = null;
    }
  } finally {
    run.dispose();
  }
}

/** One cell from the start of the guest, with readers of its trace: as in the table, without a snapshot. */
export function* judgeOne(
  options: GuestRunOptions,
  plain: Ran,
  event: ConformEvent,
  variant: Variant,
  readers: readonly TraceReader[],
): Step<Cell> {
  const limit = limitOf(plain);
  const play = function* (variantPlayed: Variant, fill: number, listening: readonly TraceReader[]): Step<Ran> {
    const run = new GuestRun(options, listening);
    try {
      run.player.part = { number: event.number, variant: variantPlayed, fill };
      if (variantPlayed.early !== undefined) {
        run.stopBefore(event);
        variantPlayed.early(vcpuOf(run, event));
      }
      while (!run.step(limit)) yield;
      return endOf(run, variantPlayed, limit);
    } finally {
      run.dispose();
    }
  };
  const ran = yield* play(variant, 0, readers);
  const atTimes = function* (): Iterable<Ran> {
    const runs: GuestRun[] = [];
    const anew = (): GuestRun => {
      const run = new GuestRun(options);
      runs.push(run);
      return run;
    };
    try {
      yield* atOtherTimes(anew, event, variant, limit);
    } finally {
      for (const run of runs) run.dispose();
    }
  };
  return {
    ...cellFrom(
      event,
      variant,
      plain,
      ran,
      judge(variant, plain, ran, {
        again: () => finish(play(variant, 1, [])),
        atOtherTimes: atTimes,
        uncompleted: withoutGhcb(options, event),
        withheld: () => (withheld.applies(event) ? finish(play(withheld, 0, [])) : null),
        control: () => (variant.control === undefined ? null : finish(play(variant.control, 0, []))),
      }),
    ),
    output: ran.output,
  };
}

function cellFrom(event: ConformEvent, variant: Variant, plain: Ran, ran: Ran, verdict: Verdict): Cell {
  return { ...verdict, id: cellName(event, variant), event, variant, instructions: ran.instructions, findings: newFindings(plain, ran) };
}

/** An NMI or interrupt may still come behind a request for termination, and has a handler: of those runs nothing is asked beyond their end. */
function endOf(run: GuestRun, { event }: Variant, limit: number): Ran {
  const ran = run.ran(limit);
  return event === undefined ? run.entered(ran) : ran;
}

function vcpuOf({ vm }: GuestRun, { vcpu }: ConformEvent): InterposedVcpu {
  const found = vm.guest.vm.vcpus[vcpu];
  assert(found !== undefined, 'the virtual CPU is there in every run');
  return found;
}

/**
 * The plain run with the variant's event before the instruction that the #VC was for; null: it cannot be had. The guest is at its start. Several
 * virtual CPUs take whole turns: there the event comes at the end of the turn that the instruction is in.
 */
function withEventEarlier(run: GuestRun, event: ConformEvent, variant: Variant, limit: number): Ran | null {
  if (variant.event === undefined || (!run.stopBefore(event) && run.vm.outcome !== null)) return null;
  variant.event(vcpuOf(run, event));
  while (!run.step(limit));
  return run.ran(limit);
}

/** A guest with a GHCB uses it. */
const withoutGhcb = ({ vcpus = 1 }: GuestRunOptions, { request }: ConformEvent): boolean => vcpus > 1 && request.protocol === 'msr';

/**
 * Runs in which the variant's event comes about then. Several virtual CPUs: at the VMGEXITs before and behind this one, too, for much may happen in the
 * rest of a turn.
 */
function* atOtherTimes(anew: () => GuestRun, event: ConformEvent, variant: Variant, limit: number): Iterable<Ran> {
  const run = anew();
  const earlier = withEventEarlier(run, event, variant, limit);
  if (earlier !== null) yield earlier;
  if (run.vm.guest.vm.vcpus.length === 1) return;
  for (const number of [event.number - 1, event.number + 1]) {
    const other = anew();
    other.player.part = { number, variant, fill: 0 };
    while (!other.step(limit));
    yield other.ran(limit);
  }
}

function* quietly<T>(steps: Step<T>): Generator<null, T> {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
    yield null;
  }
}

function finish<T>(steps: Step<T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

/** The last #VC: whether a request is for its instruction is known by its code. */
class LastVc implements TraceReader {
  #last: { readonly exitCode: number; readonly rip: bigint; readonly at: number } | null = null;

  note(event: TraceEvent): void {
    if (event.kind === 'vc') this.#last = event;
  }

  of(request: Request): { readonly rip: bigint; readonly at: number } | null {
    const last = this.#last;
    if (last === null) return null;
    const code = codeOf(request);
    const asksFor =
      request.protocol === 'msr'
        ? code === GhcbInfo.CPUID_REQUEST
          ? ExitCode.CPUID
          : null
        : code === GhcbEvent.MMIO_READ || code === GhcbEvent.MMIO_WRITE
          ? ExitCode.NPF
          : code;
    return asksFor === last.exitCode ? last : null;
  }
}
