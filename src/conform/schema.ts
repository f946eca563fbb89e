// The JSON Schema of the report (draft 2020-12), as docs/conform.schema.json publishes it and `cbit conform --schema` prints it.

import { results } from './judge.ts';
import { CONFORM_VERSION } from './report.ts';
import { groups } from './variant.ts';

type Schema = Readonly<Record<string, unknown>>;

const text = (description: string): Schema => ({ description, type: 'string' });
const count = (description: string): Schema => ({ description, type: 'integer', minimum: 0 });
const hex = (description: string): Schema => ({ description, type: 'string', pattern: '^0x[0-9a-f]+$' });
const list = (of: string, description: string): Schema => ({ description, type: 'array', items: { $ref: `#/$defs/${of}` } });
const orNull = (schema: Schema): Schema => ({ ...schema, type: [schema['type'], 'null'] });

/** `optional`: properties that may be missing. */
const object = (description: string, properties: Readonly<Record<string, Schema>>, optional: readonly string[] = []): Schema => ({
  description,
  type: 'object',
  properties,
  required: Object.keys(properties).filter((name) => !optional.includes(name)),
  additionalProperties: false,
});

export function conformSchema(): Schema {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: 'urn:cbit:conform',
    title: 'The report of cbit conform --format json',
    ...object('One guest, judged against every variant of every answer to its VMGEXITs.', {
      version: {
        description: 'Of this format. It grows when a field changes its meaning or goes; new fields do not change it.',
        const: CONFORM_VERSION,
      },
      image: text('As the command line has it.'),
      cpu: text('Processor model.'),
      memory: count('Bytes of guest memory.'),
      seed: text('With it the run can be had again.'),
      status: count('Exit status of the command: 1 if something was violated, 130 if it was interrupted, else 0.'),
      seconds: { description: 'How long it took: the only field that differs between equal runs.', type: 'number', minimum: 0 },
      narrowed: object('What was judged; null: all.', {
        occurrences: orNull(count('Of requests of one kind from one place, so many.')),
        leftOut: count('VMGEXITs left out because they are like others that were judged.'),
        event: orNull(text('What --event chose.')),
        only: orNull(text('What --only chose.')),
      }),
      plain: object('The run without any variant.', {
        outcome: text('How it ended, as docs/json.md has it.'),
        reason: text('The same as a sentence.'),
        status: count('Exit status of cbit run.'),
        value: orNull({ description: 'What the guest wrote to the test device.', type: 'integer' }),
        output: text('What it sent over COM1, its virtio console and the debug console.'),
        instructions: count('Instructions, elements of string instructions among them.'),
        vmgexits: count('How many VMGEXITs it executed.'),
        findings: list('finding', 'What the sanitizer has found in it.'),
      }),
      totals: object('', {
        events: count('VMGEXITs judged.'),
        cells: count('Variants of their answers.'),
        correct: count('The guest refused.'),
        tolerated: count('It went on, and sent what the plain run sent.'),
        violated: count('Anything else.'),
      }),
      events: list('event', 'Those with at least one cell, in the order of the plain run.'),
    }),
    $defs: {
      event: object('A VMGEXIT of the plain run.', {
        number: count('Which VMGEXIT of the run it is: 1 is the first.'),
        protocol: { description: 'Asked through a GHCB page, or in the GHCB MSR.', enum: ['page', 'msr'] },
        code: hex('SW_EXITCODE, or GHCBInfo of the request in the MSR.'),
        name: text('For people.'),
        rip: hex('The instruction that the #VC was for; without one, behind the VMGEXIT.'),
        function: orNull(text('Where that is, by the symbols of the image.')),
        vcpu: count('The virtual CPU.'),
        occurrence: count('Which one it is of the requests of its kind from its place.'),
        occurrences: count('How many of them there are.'),
        cells: list('cell', 'Its variants.'),
      }),
      cell: object(
        'One variant of one answer, to the end of the run.',
        {
          id: { ...text('NUMBER.VARIANT, for --cell.'), pattern: '^[0-9]+\\.[a-z0-9-]+$' },
          variant: text('Name of the variant: docs/conform.md.'),
          group: { description: 'What kind of variant it is.', enum: [...groups] },
          title: text('What the hypervisor did, as the end of a sentence.'),
          result: { description: 'The judgement.', enum: [...results] },
          reason: text('Why.'),
          instructions: count('Instructions of that run.'),
          findings: list('finding', 'What the sanitizer has found in it and not in the plain run.'),
          output: text('What the guest sent: only with --cell.'),
        },
        ['output'],
      ),
      finding: object('A finding of the sanitizer: docs/sanitizer.md.', {
        rule: text('The rule.'),
        rip: hex('The instruction of the guest.'),
        exit: text('The event under way.'),
        text: text('One sentence.'),
      }),
    },
  };
}
