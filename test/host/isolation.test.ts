// Guests of one host do not know of each other: whatever a neighbour does, and however it ends, the others do the same instruction by instruction,
// say the same and leave the same memory. A trace shows where a turn ends (#VMEXIT INTR) and at which addresses the hypervisor keeps a VMCB, so trace
// hashes are compared for one length of turns and one number of processors; all else is the same whatever these are.

import { describe, expect, it } from 'vitest';
import type { Host, HostedOptions, HostOptions } from '../../src/host.ts';
import type { NamedBytes } from '../../src/virtual-machine.ts';
import { create, type Ending, kernel, openHost, type Watched } from './hosted.ts';
import { neighbours, observer } from './others.ts';

type Scene = {
  readonly options?: Partial<HostOptions>;
  readonly given?: Partial<HostedOptions>;
  /** What happens after each 200,000 instructions. */
  readonly meanwhile?: (host: Host, neighbour: Watched) => void;
};

const witnesses = { hello: kernel('hello'), timer: kernel('timer'), observer } as const;
const ended = ({ guest }: Watched): boolean => guest.state === 'ended';

/** Witnesses around a neighbour, until all witnesses have ended. */
function run(neighbour: NamedBytes | null, { options, given, meanwhile }: Scene = {}): Record<keyof typeof witnesses, Ending> {
  const host = openHost({ traced: true, ...options });
  try {
    const hello = create(host, 'hello', witnesses.hello);
    const other = neighbour === null ? null : create(host, 'neighbour', neighbour, { trace: null, ...given });
    const [timer, observed] = [create(host, 'timer', witnesses.timer), create(host, 'observer', witnesses.observer)];
    while (![hello, timer, observed].every(ended)) {
      host.advance(200_000);
      if (other !== null) meanwhile?.(host, other);
    }
    return { hello: hello.finish(), timer: timer.finish(), observer: observed.finish() };
  } finally {
    host.dispose();
  }
}

/** What does not depend on turns and processors, nor on how often the AMD-SP has drawn a nonce for the measurement of others. */
const behaviour = (endings: Record<keyof typeof witnesses, Ending>) =>
  Object.values(endings).map(({ serial, consumed, time, result: { exits, measurement: _nonce, ...result } }) => {
    const { INTR: _turns, ...others } = exits;
    return { serial, consumed, time, result, exits: others };
  });

// biome-ignore format: a table
const deeds: Readonly<Record<keyof typeof neighbours, string>> = {
  'a good one':                                   'ended',
  'one that loops for ever':                      'goes on',
  'one that writes all over its memory for ever': 'goes on',
  'one that faults without a handler':            'shutdown',
  'one that floods its console':                  'goes on, has sent more than 1000 bytes',
  'one that asks for termination':                'terminated',
  'one that shuts down at its first #VC':         'shutdown',
  'one that draws RDRAND all the time':           'goes on',
  'one that leaves again and again':              'goes on, has left more than 1000 times',
  'one that halts at once':                       'halted',
};

it.each(Object.keys(neighbours))('the neighbour is what it is called: %s', (name) => {
  const host = openHost({ turn: 10_000 });
  const sent: number[] = [];
  const serial = { transmit: (byte: number): void => void sent.push(byte), next: () => undefined };
  const { guest } = create(host, 'neighbour', neighbours[name]!, { serial, trace: null });
  while (!host.advance(10_000) && guest.consumed < (name === 'a good one' ? 1_000_000 : 50_000));
  const { outcome, exits } = guest.result();
  const flood = sent.length > 1000 ? ', has sent more than 1000 bytes' : '';
  const left = flood === '' && (exits['VMGEXIT'] ?? 0) > 1000 ? ', has left more than 1000 times' : '';
  expect(guest.state === 'ended' ? outcome.kind : `goes on${flood}${left}`).toBe(deeds[name]);
  host.dispose();
});

describe.each([
  { hostCpus: 1, turn: 100_000 },
  { hostCpus: 3, turn: 7_777 },
])('on $hostCpus processors, in turns of $turn instructions', (options) => {
  const expected = run(neighbours['a good one']!, { options });

  it('guests end as they should', () => {
    expect(expected.hello.result.outcome).toEqual({ kind: 'ended', value: 0 });
    expect(expected.timer.result.outcome).toEqual({ kind: 'ended', value: 0 });
    expect(expected.observer.result.outcome).toMatchObject({ kind: 'halted' });
    expect(expected.timer.time).toBeGreaterThan(expected.timer.consumed);
  });

  it.each(Object.keys(neighbours))('beside %s the others do the same', (name) => {
    expect(run(neighbours[name]!, { options })).toEqual(expected);
  });

  it('beside one that is destroyed in the middle the others do the same', () => {
    const { 'one that writes all over its memory for ever': busy } = neighbours;
    const meanwhile = (_: Host, { guest }: Watched): void => void guest.destroy();
    expect(run(busy!, { options, meanwhile })).toEqual(expected);
  });

  it('beside one that is paused, goes on, and is followed by another the others do the same', () => {
    let step = 0;
    const meanwhile = (host: Host, { guest }: Watched): void => {
      step++;
      if (step === 1) guest.pause();
      else if (step === 2) guest.unpause();
      else if (step === 3) {
        guest.destroy();
        create(host, 'late', neighbours['one that floods its console']!, { trace: null });
      }
    };
    const scene = { options, meanwhile };
    expect(run(neighbours['one that loops for ever']!, scene)).toEqual(expected);
    expect(step).toBeGreaterThan(3);
  });

  it('beside one that its host ends while it says something the others do the same', () => {
    let neighbour: Watched | null = null;
    const given: Partial<HostedOptions> = { serial: { transmit: () => void neighbour?.guest.destroy(), next: () => undefined } };
    const meanwhile = (_: Host, watched: Watched): void => {
      neighbour = watched;
    };
    expect(run(neighbours['one that floods its console']!, { options, given, meanwhile })).toEqual(expected);
    expect((neighbour as Watched | null)?.guest.state).toBe('ended');
  });
});

it('what guests do depends neither on the number of processors nor on the length of turns, nor on their neighbours’ technology', () => {
  const good = neighbours['a good one']!;
  const expected = behaviour(run(good));
  expect(behaviour(run(null))).toEqual(expected);
  for (const options of [{ hostCpus: 2 }, { turn: 1_000 }, { hostCpus: 4, turn: 3_333 }])
    expect(behaviour(run(good, { options }))).toEqual(expected);
  for (const technology of ['none', 'sev'] as const) expect(behaviour(run(good, { given: { technology } }))).toEqual(expected);
});

describe('a guest of four virtual CPUs that wait for each other', () => {
  const beside = (neighbour: NamedBytes, technology: HostedOptions['technology']): Ending => {
    const host = openHost({ traced: true, hostCpus: 2, turn: 5_000 });
    const smp = create(host, 'smp', kernel('smp'), { technology, vcpus: 4, memory: 8 << 20 });
    create(host, 'neighbour', neighbour, { trace: null });
    while (!ended(smp)) host.advance(200_000);
    const ending = smp.finish();
    host.dispose();
    return ending;
  };

  it.each(['none', 'sev-es'] as const)('does the same under %s whoever its neighbour is', (technology) => {
    const expected = beside(neighbours['one that halts at once']!, technology);
    expect(expected.result).toMatchObject({ status: 0 });
    expect(expected.result.exits['PAUSE']).toBeGreaterThan(0);
    for (const name of ['one that loops for ever', 'a good one']) expect(beside(neighbours[name]!, technology)).toEqual(expected);
  });
});

describe.each(['none', 'sev', 'sev-es'] as const)('under %s a guest alone and the same among others', (technology) => {
  const among = (names: readonly string[]): Map<string, Ending> => {
    const host = openHost({ traced: true, hostCpus: 2 });
    const watched = new Map(names.map((name) => [name, create(host, name, kernel(name), { technology })]));
    while (!host.advance(1_000_000));
    const endings = new Map([...watched].map(([name, { finish }]) => [name, finish()]));
    host.dispose();
    return endings;
  };
  const names = ['rdtsc', 'timer', 'hello', 'fault', 'nmi'];
  const all = among(names);

  it.each(names)('%s say the same', (name) => {
    const alone = among([name]).get(name);
    expect(alone?.result.status).toBe(0);
    expect(all.get(name)?.serial).toBe(alone?.serial);
    expect(all.get(name)?.time).toBe(alone?.time);
  });
});
