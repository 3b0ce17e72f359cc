// Clients of MQTT.js for the tests. Commands come as lines of JSON on standard input,
// answers and messages leave the same way; foreign_test.go has the form of both.
import { createInterface } from 'node:readline'
import mqtt from 'mqtt'

const clients = new Map()

const say = (client, event, more = {}) => process.stdout.write(JSON.stringify({ client, event, ...more }) + '\n')

// toWire and fromWire change what JSON has no form for: correlation data is octets.
function toWire (properties = {}) {
  const { correlationData, ...rest } = properties
  return correlationData === undefined ? rest : { ...rest, correlationData: Buffer.from(correlationData) }
}

function fromWire (properties = {}) {
  const { correlationData, userProperties, ...rest } = properties
  if (correlationData !== undefined) rest.correlationData = correlationData.toString()
  if (userProperties !== undefined) {
    rest.userProperties = Object.fromEntries(Object.entries(userProperties).map(([key, values]) => [key, [values].flat()]))
  }
  return rest
}

function connect (name, { port, version, clean, properties, will, aliases }) {
  const client = mqtt.connect({
    host: '127.0.0.1',
    port,
    clientId: name,
    clean,
    protocolVersion: version,
    protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
    reconnectPeriod: 0,
    resubscribe: false,
    keepalive: 300,
    autoAssignTopicAlias: aliases,
    properties: version === 5 ? properties : undefined,
    will: will && { ...will, payload: Buffer.from(will.payload), properties: version === 5 ? toWire(will.properties) : undefined }
  })
  clients.set(name, client)
  client.on('connect', (connack) => say(name, 'connected', {
    present: connack.sessionPresent, codes: [connack.reasonCode ?? connack.returnCode ?? 0], properties: fromWire(connack.properties)
  }))
  client.on('message', (topic, payload, packet) => say(name, 'received', {
    topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain, properties: fromWire(packet.properties)
  }))
  client.on('disconnect', (packet) => say(name, 'dismissed', { codes: [packet.reasonCode ?? 0] }))
  client.on('close', () => say(name, 'disconnected'))
  client.on('error', (err) => say(name, 'failed', { codes: [err.code ?? 0], error: String(err) }))
}

// publish hands over all messages at once and tells when the last is acknowledged. The
// reason codes of success are not told to the callbacks.
function publish (name, { topic, payloads, qos, retain, properties }) {
  const client = clients.get(name)
  const codes = []
  const note = ({ cmd, reasonCode }) => { if (cmd === 'puback' || cmd === 'pubrec') codes.push(reasonCode ?? 0) }
  client.on('packetreceive', note)
  let left = payloads.length
  const done = (err) => {
    if (err && err.code === undefined) codes.push(-1)
    if (--left > 0) return
    client.off('packetreceive', note)
    say(name, 'published', { codes })
  }
  for (const payload of payloads) {
    client.publish(topic, payload, { qos, retain, properties: properties && toWire(properties) }, done)
  }
}

function subscribe (name, { filter, qos, properties }) {
  clients.get(name).subscribe(filter, { qos, properties }, (err, granted, packet) => {
    say(name, 'subscribed', { codes: packet?.granted ?? [err?.code ?? -1] })
  })
}

function unsubscribe (name, { filter }) {
  clients.get(name).unsubscribe(filter, {}, (err, packet) => {
    say(name, 'unsubscribed', { codes: packet?.granted ?? [err?.code ?? 0] })
  })
}

const leave = (name) => clients.get(name).end()

const die = (name) => clients.get(name).stream.destroy()

const verbs = { connect, publish, subscribe, unsubscribe, leave, die }

for await (const line of createInterface({ input: process.stdin })) {
  const { client, do: verb, ...more } = JSON.parse(line)
  verbs[verb](client, more)
}
process.exit()
