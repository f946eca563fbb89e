// Guests with several virtual CPUs under many seeds, each of which is another interleaving (test/smp). guests/smp must pass under all
// of them, guests/smp-race under some and not under others, and a seed must give the same run each time.
//
//   npm run smp:seeds                                   seeds 1 to 100, 2, 8 and 32 virtual CPUs, each twice
//   npm run smp:seeds -- --sev none --vcpus 8           another technology (sev-es, sev, none), other numbers
//   npm run smp:seeds -- --guest smp-race --vcpus 2 --from 4 --to 4
//
// Closes with a line for each guest and number of virtual CPUs. Exit status 1 if any is not as it must be.

import { parseArgs } from 'node:util';
import { technologies, type Technology } from '../src/arch/boot-page.ts';
import { trySeed } from '../test/smp/seeds.ts';

const { values } = parseArgs({
  options: {
    sev: { type: 'string', default: 'sev-es' },
    guest: { type: 'string', default: 'smp,smp-race' },
    vcpus: { type: 'string', default: '2,8,32' },
    from: { type: 'string', default: '1' },
    to: { type: 'string', default: '100' },
  },
});
const [from, to] = [Number(values.from), Number(values.to)];

function technologyOf(name: string): Technology {
  const found = technologies.find((known) => known === name);
  if (found === undefined) throw new Error(`--sev ${name}: give ${technologies.join(', ')}`);
  return found;
}
const technology = technologyOf(values.sev);

type Tally = { readonly seeds: number; readonly passed: number; readonly different: number };

function trySeeds(guest: string, vcpus: number): Tally {
  let [passed, different, instructions] = [0, 0, 0];
  for (let seed = from; seed <= to; seed++) {
    const verdict = trySeed(guest, seed, { technology, vcpus });
    if (verdict.passed) passed++;
    else if (guest !== 'smp-race' || from === to) console.log(`  ${guest}, ${vcpus} virtual CPUs, seed ${seed}: ${verdict.complaint}`);
    if (!verdict.same) {
      different++;
      console.log(`  ${guest}, ${vcpus} virtual CPUs, seed ${seed}: two runs differ`);
    }
    instructions += verdict.instructions;
    if (process.stderr.isTTY) process.stderr.write(`\r${guest}, ${vcpus} virtual CPUs: seed ${seed}\x1b[K`);
  }
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  const seeds = to - from + 1;
  console.log(
    `${guest}, ${technology}, ${vcpus} virtual CPUs: ${passed} of ${seeds} seeds pass, ${different} differ from run to run, ${Math.round(instructions / seeds)} instructions on average`,
  );
  return { seeds, passed, different };
}

/** The race is there under some seeds and not under others, if there are enough of them. */
const asItMustBe = (guest: string, { seeds, passed }: Tally): boolean =>
  guest === 'smp-race' ? from === to || (passed > 0 && passed < seeds) : passed === seeds;

let good = true;
for (const guest of values.guest.split(',')) {
  let all: Tally = { seeds: 0, passed: 0, different: 0 };
  for (const vcpus of values.vcpus.split(',')) {
    const one = trySeeds(guest, Number(vcpus));
    all = { seeds: all.seeds + one.seeds, passed: all.passed + one.passed, different: all.different + one.different };
  }
  if (!asItMustBe(guest, all) || all.different > 0) good = false;
}
process.exitCode = good ? 0 : 1;
