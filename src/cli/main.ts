// The command line: what there is to say, what each mistake costs. Exit statuses are in docs/run.md. A mistake of the person is one
// line and status 2; anything else that is thrown is a bug of ours: status 70, with what to report.

import { Command, CommanderError } from 'commander';
import { technologies } from '../arch/boot-page.ts';
import { ExitStatus } from '../hypervisor/outcome.ts';
import { UserError } from '../util/errors.ts';
import { packageVersion } from './image.ts';
import type { ConformFlags } from './conform.ts';
import type { HostFlags } from './host.ts';
import type { PagesFlags } from './pages.ts';
import type { RunFlags } from './run.ts';

const EPILOGUE = `
Exit status: 0 the guest ended itself with 0; 1 it ended otherwise, or something was found; 2 a mistake in what was asked;
3 the instruction limit was reached; 130 interrupted; 70 a bug of cbit.
Serial output goes to stdout, everything of ours to stderr; stdin reaches the guest's COM1.`;

const PAGES_EPILOGUE = `
Exit status: 0 it was shown, whatever the guest did; 2 a mistake in what was asked, or the moment never came;
130 interrupted, and shown as it was then; 70 a bug of cbit.
Nothing is changed by being looked at. What the guest sends over COM1 is dropped.`;

const CONFORM_EPILOGUE = `
Exit status: 0 nothing was violated; 1 something was; 2 a mistake in what was asked; 130 interrupted; 70 a bug of cbit.
What the variants are, and what each judgement means: docs/conform.md.`;

const HOST_EPILOGUE = `
On a terminal verbs are typed at a prompt (\`help\` lists them), otherwise they are read from stdin, one a line.
Exit status: 0 no guest failed; with --once all of them ended with 0; 1 one did not; 2 a mistake in the file or in a script;
130 interrupted; 70 a bug of cbit.`;

/** Where `--trace` without a name writes, in the current folder. */
const DEFAULT_TRACE = 'cbit-trace.ndjson';

const gather = (text: string, before: readonly string[] = []): string[] => [...before, text];

function program(done: (status: number) => void): Command {
  const cbit = new Command('cbit')
    .description('Runs guests under SEV and SEV-ES, on a processor, secure processor and encrypted memory of its own')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand(false)
    .configureOutput({ outputError: () => {}, writeErr: () => {} })
    .exitOverride();
  withMachine(cbit.command('run').description('run a guest: an ELF64 executable, a folder guests/NAME, or a flat binary'))
    .option('--trace [file]', `write everything that happens as NDJSON, to --trace=FILE (default: ${DEFAULT_TRACE})`)
    .option('--json', 'print one JSON object on stdout instead of serial output and account')
    .option('--registers <format>', "print the guest's registers at the end on stdout: json")
    .option('--halt-ok', 'a guest that halts for good has succeeded')
    .option('--map', 'show whose memory is whose at the end, in the account or the JSON object')
    .option('--sanitize', 'judge what guest and hypervisor do with the GHCB; findings make the exit status 1 (docs/sanitizer.md)')
    .option('--taint', 'follow private data to the hypervisor, and what it says to addresses and branches (docs/taint.md)')
    .option('--secret <where>', 'with --taint: a symbol, or GPA:LENGTH, whose bytes are private; may be repeated', gather)
    .addHelpText('after', EPILOGUE)
    .action(async (image: string | undefined, flags: RunFlags) => {
      // Nothing of the machine is loaded for a version or a mistake.
      const { run } = await import('./run.ts');
      done(await run(image, flags));
    });
  withMachine(cbit.command('pages').description("map a guest's memory by who encrypted it, or show pages of it as each side sees them"))
    .option('--at <moment>', 'look after so many instructions, or at an exit or #VC: vmgexit, cpuid#3 (default: at the end)')
    .option('--page <address>', 'show the page with this guest physical address; may be repeated', gather)
    .option('--bytes <n>', 'of each page only so many bytes, from its address on')
    .option('--key <key>', 'show pages under this key, too: none, host, asid, or an ASID; may be repeated', gather)
    .option('--map', 'the map besides the pages')
    .option('--format <format>', 'text, json or svg (default: what the ending of --output says, or text)')
    .option('--output <file>', 'write to this file instead of stdout')
    .addHelpText('after', PAGES_EPILOGUE)
    .action(async (image: string | undefined, flags: PagesFlags) => {
      const { pages } = await import('./pages.ts');
      done(await pages(image, flags));
    });
  withMachine(
    cbit.command('conform').description("judge a guest's #VC handler: every answer to every VMGEXIT, as it should not be: docs/conform.md"),
  )
    .option('--event <what>', 'only VMGEXITs with this code (72h) or name (CPUID)')
    .option('--only <what>', 'only these variants or groups of them, separated by commas; or list the cells with a result: violated')
    .option('--occurrences <n>', 'of equal requests from one place so many (default: 2)')
    .option('--all', 'every VMGEXIT')
    .option('--cell <id>', 'one cell again, as the report names it: NUMBER.VARIANT')
    .option('--trace [file]', `with --cell: write everything that happens as NDJSON, to --trace=FILE (default: ${DEFAULT_TRACE})`)
    .option('--format <format>', 'text, json or junit (default: what the ending of --output says, or text)')
    .option('--output <file>', 'write to this file instead of stdout')
    .option('--halt-ok', 'a guest that halts for good has succeeded')
    .option('--schema', 'print the JSON Schema of --format json')
    .addHelpText('after', CONFORM_EPILOGUE)
    .action(async (image: string | undefined, flags: ConformFlags) => {
      const { conform } = await import('./conform.ts');
      done(await conform(image, flags));
    });
  cbit
    .command('host')
    .description('run a host with many guests, as a file describes it: docs/host.md')
    .argument('[file]', 'the host and its guests as JSON')
    .helpOption('-h, --help', 'print this help')
    .option('--once', 'run all guests to their end, with their output by line, then print a table')
    .option('--json', 'with --once: print one JSON object on stdout instead')
    .option('--schema', 'print the JSON Schema of the file')
    .addHelpText('after', HOST_EPILOGUE)
    .action(async (file: string | undefined, flags: HostFlags) => {
      const { serveHost } = await import('./host.ts');
      done(await serveHost(file, flags));
    });
  return cbit;
}

/** The options that choose a machine and what runs on it. */
function withMachine(command: Command): Command {
  return command
    .argument('[image]', 'the image; guests/NAME stands for guests/NAME/NAME.elf, here or in the package')
    .helpOption('-h, --help', 'print this help')
    .option('--sev <technology>', `${technologies.join(', ')} (default: sev-es; with --bare none)`)
    .option('--bare', 'the image is the host itself: it runs on the machine, without a hypervisor')
    .option('--sme', "the host's memory and the guest's are encrypted with the host's key: the hypervisor sets C-bits")
    .option('--tsme', "transparent SME: all memory is encrypted with the host's key where no guest's applies")
    .option('--encryption <mode>', 'xe or xex: how the memory controller tweaks blocks, for naples, which was built with either')
    .option('--evict <policy>', 'random: lines leave caches by chance, too (on naples and rome, which do not keep views coherent)')
    .option('--memory <size>', 'guest memory, such as 64M', '64M')
    .option(
      '--cpu <model>',
      "processor model: naples, rome, milan, genoa, turin; MODEL,-FEATURE takes a feature away; 'help' lists the names",
      'milan',
    )
    .option('--seed <n>', "what all chance comes from: a number, or 'random' to draw one and print it", '0')
    .option('--vcpus <n>', 'virtual CPUs (default: 1)')
    .option('--host-cpus <n>', 'processors of the host, on which they take turns (default: 1)')
    .option('--schedule <policy>', 'how they take turns: round-robin or random (default: round-robin)')
    .option('--quantum <n>', 'instructions of a turn (default: 10000)')
    .option('--max-instructions <n>', 'stop after so many instructions')
    .option('--intercept <names>', "further intercepts, separated by commas: rdtsc, rdtscp, ..., or 'cr'", gather)
    .option('--ghcb-version <n>', 'the highest version of the GHCB protocol that the hypervisor speaks: 1 or 2 (default: 2)')
    .option('--sev-features <names>', 'what the VMSAs of an SEV-ES guest enable: debug-swap', gather)
    .option('--check-clean-bits', 'tell of VMCB fields that the hypervisor changes under a set clean bit (with a trace, always)')
    .option('--mode <bits>', 'mode to start in: 16, 32 or 64, or multiboot or pvh (default: what the image says)')
    .option('--load <address>', 'where a flat binary goes (default: 0x100000, 0x7c00 with --mode 16)')
    .option('--entry <address>', 'where execution begins (default: what the ELF says, or where a flat binary is loaded)')
    .option('--bios <file>', 'a ROM image, started at its reset vector')
    .option('--append <text>', 'text handed to the guest: its command line, or in the boot page')
    .option('--initrd <file>', 'a file handed to a Linux, Multiboot or PVH image')
    .option('--disk <file>', 'a virtio disk in this file; FILE,ro for one that the guest cannot write; may be repeated', gather)
    .option('--rng', 'a virtio entropy device, which gives what the seed gives')
    .option('--virtio-console', 'a virtio console on stdin and stdout; COM1 then only sends')
    .option('--virtio <bus>', 'the bus of the virtio devices: pci or mmio (default: pci)')
    .option('--rtc <date>', "the guest's date in UTC, such as 2026-01-31T12:00:00")
    .option('--tier <name>', 'compiler: what runs often is compiled; interpreter: nothing is', 'compiler');
}

/** `--trace` alone never takes the word behind it for its file: a file is only what follows `=`. */
const withExplicitTrace = (args: readonly string[]): string[] => {
  const end = args.indexOf('--');
  return args.map((arg, i) => (arg === '--trace' && (end < 0 || i < end) ? `--trace=${DEFAULT_TRACE}` : arg));
};

/** Runs the command line; gives the exit status. */
async function main(args: readonly string[]): Promise<number> {
  let status: number = ExitStatus.OK;
  try {
    await program((given) => {
      status = given;
    }).parseAsync(withExplicitTrace(args), { from: 'user' });
    return status;
  } catch (error) {
    return complain(error, args);
  }
}

/** Says what went wrong, in one line if a person can mend it. */
function complain(error: unknown, args: readonly string[]): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return ExitStatus.OK; // help or version
    const said =
      error.code === 'commander.help'
        ? 'say what to do'
        : error.message
            .replace(/^error: /, '')
            .replace(/\.$/, '')
            .replace(/\s*\n\s*/g, ' ');
    const command = ['pages', 'conform', 'host'].find((name) => name === args[0]) ?? 'run';
    process.stderr.write(`cbit: ${said}: see \`cbit ${command} --help\`\n`);
    return ExitStatus.MISTAKE;
  }
  if (error instanceof UserError) {
    process.stderr.write(`cbit: ${error.message.replaceAll('\n', ' ')}\n`);
    return ExitStatus.MISTAKE;
  }
  const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(
    [
      `cbit: this is a bug of cbit, not of the guest: please report it with the image and these lines`,
      `  cbit ${packageVersion()}, Node ${process.version}, ${process.platform} ${process.arch}`,
      `  cbit ${args.map((arg) => JSON.stringify(arg)).join(' ')}`,
      ...what.split('\n').map((line) => `  ${line}`),
      '',
    ].join('\n'),
  );
  return ExitStatus.BUG;
}

process.stderr.on('error', () => {}); // nobody reads our remarks: go on without
process.stdout.on('error', ({ code }: NodeJS.ErrnoException) => {
  if (code === 'EPIPE') return; // `cbit ... | head`: enough was read
  process.stderr.write(`cbit: stdout: cannot be written (${code}): make room, or send it elsewhere\n`);
  process.once('exit', () => (process.exitCode = ExitStatus.MISTAKE));
});
process.exitCode = await main(process.argv.slice(2));
