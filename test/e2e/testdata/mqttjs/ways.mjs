// MQTT.js in Node.js at each of the URLs of the command line, with the certificate of an
// authority: a line for each URL and version.
import { readFileSync } from 'node:fs'
import mqtt from 'mqtt'
import './ways.js'

const [ca, username, password, ...urls] = process.argv.slice(2)
for (const url of urls) {
  for (const protocolVersion of [4, 5]) {
    const options = { protocolVersion, clientId: 'node-' + protocolVersion, username, password, ca: readFileSync(ca) }
    console.log(url, protocolVersion, await globalThis.tryWay(mqtt, url, options))
  }
}
