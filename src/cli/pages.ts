// `cbit pages`: runs a guest to a moment, looks at its memory, and shows it. What the guest sends over COM1 is dropped: stdout is for
// what was asked.

import { writeFileSync } from 'node:fs';
import { describeMoment, ExitWatch, type Moment, parseMoment } from '../debug/pages-at.ts';
import { sceneOf } from '../debug/pages-machine.ts';
import { lookAt, pagesJson, type PagesReport, pagesSvg, pagesText, type Wanted } from '../debug/pages-report.ts';
import { locate, type Scene } from '../debug/pages.ts';
import { Tracer } from '../debug/tracer.ts';
import { modelChoiceHelp } from '../cpu/model-choice.ts';
import { describeOutcome, ExitStatus } from '../hypervisor/outcome.ts';
import { PAGE_SIZE } from '../util/address.ts';
import { UserError } from '../util/errors.ts';
import { SLICE, VirtualMachine } from '../virtual-machine.ts';
import { nodeAes } from './aes-node.ts';
import { paintFor } from './colours.ts';
import { drive } from './drive.ts';
import { code } from './image.ts';
import { type Format, parseBytes, parseFormat, parseKey, parsePage } from './page-options.ts';
import { Progress } from './progress.ts';
import { type MachineFlags, readSettings } from './settings.ts';
import { Stopwatch } from './stopwatch.ts';
import { endsOf, Terminal } from './terminal.ts';

/** Options as commander hands them over: texts. */
export type PagesFlags = MachineFlags & {
  readonly at?: string;
  readonly page?: readonly string[];
  readonly bytes?: string;
  readonly key?: readonly string[];
  readonly map?: boolean;
  readonly format?: string;
  readonly output?: string;
};

/** Columns where there is no terminal: three columns of sixteen bytes. */
const DEFAULT_WIDTH = 160;

type Looked = Pick<PagesReport, 'keys' | 'maps' | 'pages' | 'moment' | 'instructions'>;

/** Runs to the moment and shows what was asked; gives the exit status. Throws UserError. */
export async function pages(named: string | undefined, flags: PagesFlags): Promise<number> {
  if (flags.cpu.trim().toLowerCase() === 'help') {
    process.stdout.write(`${modelChoiceHelp()}\n`);
    return ExitStatus.OK;
  }
  const addresses = (flags.page ?? []).map(parsePage);
  const bytes = flags.bytes === undefined ? PAGE_SIZE : parseBytes(flags.bytes);
  const moment: Moment = flags.at === undefined ? { kind: 'end' } : parseMoment(flags.at);
  const format = parseFormat(flags.format, flags.output);
  const keyParsers = (flags.key ?? []).map(parseKey);
  if (addresses.length === 0 && (keyParsers.length > 0 || flags.bytes !== undefined))
    throw new UserError(`${keyParsers.length > 0 ? '--key' : '--bytes'} is about pages: name one with --page`);
  const { options, origin, seed } = readSettings(named, flags);

  const wanted = (scene: Scene): Wanted => {
    checkAddresses(scene, addresses);
    return { addresses, bytes, keys: keyParsers.map((parse) => parse(scene.keys)) };
  };
  let looked: Looked | null = null;
  const look = (said: string): void => {
    if (vm === null) return;
    const scene = sceneOf(vm);
    looked ??= { ...lookAt(scene, wanted(scene)), keys: scene.keys, moment: said, instructions: vm.machine.retired };
  };
  // An exit is looked at while it happens; the run goes on to the end of its slice, and nobody looks at that.
  const watch = moment.kind === 'exit' ? new ExitWatch(moment, () => look(describeMoment(moment))) : null;
  const tracer = new Tracer(watch === null ? [] : [watch]);
  const progress = new Progress(new Stopwatch(), process.stderr.isTTY === true);
  const terminal = new Terminal({ toStdout: false, sent: () => {} });
  let vm: VirtualMachine | null = null;
  try {
    vm = new VirtualMachine({ ...options, haltOk: true, ...endsOf(terminal, flags.virtioConsole ?? false), aes: nodeAes, trace: tracer });
    const machine = vm;
    wanted(sceneOf(vm)); // mistakes are told before the run, which may take long
    tracer.clock = () => machine.machine.retired;
    if (seed.drawn) process.stderr.write(`cbit: seed ${seed.value}\n`);
    const left = moment.kind === 'instructions' ? () => moment.count - machine.consumed : () => SLICE;
    await drive(vm, terminal, progress, () => (looked === null ? Math.max(0, Math.min(SLICE, left())) : 0));
    progress.clear();
    const { outcome } = vm;
    if (looked === null) {
      if (outcome !== null && outcome.kind !== 'interrupted') assertReached(moment, flags.at ?? '', vm, watch);
      look(outcome === null ? describeMoment(moment) : `at the end: ${describeOutcome(outcome)}`);
    }
    show(looked, { origin, showMap: addresses.length === 0 || flags.map === true }, format, flags.output);
    return outcome?.kind === 'interrupted' ? ExitStatus.INTERRUPTED : ExitStatus.OK;
  } finally {
    terminal.close();
    vm?.dispose();
  }
}

function checkAddresses({ spaces: [asked] }: Scene, addresses: readonly number[]): void {
  const none = addresses.find((address) => locate(asked, address) === null);
  if (none === undefined) return;
  const has = asked.regions.map(({ start, size }) => `0x${start.toString(16)} to 0x${(start + size - 1).toString(16)}`).join(', ');
  throw new UserError(`--page 0x${none.toString(16)}: no memory is there: give an address from ${has}`);
}

/** The run is over: was that the moment? */
function assertReached(moment: Moment, text: string, vm: VirtualMachine, watch: ExitWatch | null): void {
  if (moment.kind === 'end' || (moment.kind === 'instructions' && vm.consumed >= moment.count)) return;
  const ended = vm.outcome === null ? 'the run ended' : describeOutcome(vm.outcome);
  if (watch === null) throw new UserError(`--at ${text}: ${ended} after ${vm.consumed} instructions: give fewer`);
  if (watch.seen > 0) throw new UserError(`--at ${text}: it occurred ${watch.seen} times before ${ended}: give a lower number`);
  throw new UserError(`--at ${text}: it never occurred before ${ended}: give another exit (\`cbit run\` counts those that there are)`);
}

function show(looked: Looked | null, rest: Pick<PagesReport, 'origin' | 'showMap'>, format: Format, output: string | undefined): void {
  if (looked === null) return;
  const report: PagesReport = { ...looked, ...rest };
  const toTerminal = output === undefined && process.stdout.isTTY;
  const paint = paintFor(output === undefined ? process.stdout : {}, process.env);
  const text =
    format === 'json'
      ? `${pagesJson(report)}\n`
      : format === 'svg'
        ? pagesSvg(report)
        : pagesText(report, toTerminal ? process.stdout.columns : DEFAULT_WIDTH, paint);
  if (output === undefined) {
    process.stdout.write(text);
    return;
  }
  try {
    writeFileSync(output, text);
  } catch (error) {
    throw new UserError(`--output ${output}: cannot be written (${code(error)}): name a file in a folder that exists and is yours`);
  }
}
