// What a client of MQTT.js does at one URL, in Node.js and in a browser: it subscribes,
// publishes with each QoS what is longer than a frame, and says what it got, or what failed.
async function tryWay (mqtt, url, options) {
  return await new Promise((resolve) => {
    const client = mqtt.connect(url, { reconnectPeriod: 0, connectTimeout: 20000, ...options })
    const payload = 'x'.repeat(100000)
    const got = []
    let result = 'closed'
    client.on('error', (err) => { result = 'failed: ' + err.message; client.end(true) })
    client.on('close', () => resolve(result))
    client.on('message', (topic, message, packet) => {
      if (message.toString() === packet.qos + payload) got.push(packet.qos)
      if (got.length < 3) return
      result = 'got ' + got.sort().join(' ')
      client.end()
    })
    client.on('connect', () => {
      client.subscribe('ways/' + options.clientId, { qos: 2 }, () => {
        for (let qos = 0; qos < 3; qos++) client.publish('ways/' + options.clientId, qos + payload, { qos })
      })
    })
  })
}

globalThis.tryWay = tryWay
