// How fast we are, on this machine, and against others: `npm run bench`. docs/benchmarks.md says what is measured and how.
//
//   --quick              fewer repeats, ends within 50 s
//   --many-guests        with --quick: hosts of many guests as well, some 8 s more
//   --peer NAME          qemu, bochs, v86: the same workloads there, in turn with ours; may be repeated
//   --only REGEX         these workloads and no other figures
//   --tier NAME          interpreter or compiler: how far our engine goes
//   --json, --markdown   the report as one object on stdout, or as tables
//   --check              status 1 if even the best repeat misses what the build must reach

import { UserError } from '../src/cbit.ts';
import { parseOptions } from './bench/options.ts';
import { bench } from './bench/run.ts';
import { markdown, missedLines, terminalText } from './bench/table.ts';

const CLEAR_LINE = '\r\u001B[K';

/** One line that changes, on a terminal only. */
const progress = (text: string): void => {
  if (process.stderr.isTTY) process.stderr.write(`${CLEAR_LINE}${text}`);
};

try {
  const options = parseOptions(process.argv.slice(2));
  const report = await bench(options, progress);
  progress('');
  console.log(options.json ? JSON.stringify(report) : options.markdown ? markdown(report) : terminalText(report));
  const missed = options.check ? missedLines(report) : [];
  for (const line of missed) console.error(line);
  process.exitCode = missed.length + report.failures.length > 0 ? 1 : 0;
} catch (error) {
  progress('');
  if (!(error instanceof UserError)) throw error;
  console.error(`bench: ${error.message}`);
  process.exitCode = 2;
}
